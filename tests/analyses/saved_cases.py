"""Diffs of adapters that save a module whole, for the rules on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import ftdiff
from tests.cases.situations import HIDDEN, factors, write_base, write_lora


def _saving(*names: str, base: bool = True) -> ftdiff.Diff:
    saved = {f"base_model.model.{name}.weight": torch.ones(3, HIDDEN) for name in names}
    with TemporaryDirectory() as folder:
        at = Path(folder)
        lora = write_lora(at / "lora", {**factors(), **saved}, modules_to_save=[*names])
        return ftdiff.compare(write_base(at / "base") if base else None, lora)


#: By rule: what triggers it, and what the same without the fault is.
CASES: dict[str, tuple[Callable[[], ftdiff.Diff], Callable[[], ftdiff.Diff]]] = {
    "saved-module": (lambda: _saving("score"), _saving),
    "saved-without-base": (lambda: _saving("score", base=False), lambda: _saving(base=False)),
}
