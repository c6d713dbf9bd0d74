"""Of PEFT's own files no key is lost either: dropped, added or called otherwise, it is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import ftdiff
from ftdiff.adapters import account, open_tuned
from ftdiff.deltas.recipes import Tuned, Unreadable
from ftdiff.errors import BadAdapter
from ftdiff.formats import open_checkpoint
from tests.adapters.files import balanced
from tests.oracle import models
from tests.oracle.closed_forms import CASES, Shelf
from tests.oracle.conftest import Bench
from tests.oracle.peft_cases import Case

TYPES = {case.type: name for name, case in reversed(CASES.items())}
MERGED = ("HIRA", "OFT", "RANDLORA")


def rewritten(adapter: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file(tensors, adapter / "adapter_model.safetensors")
    return adapter


def refused(tuned: Tuned, key: str) -> bool:
    """Say whether a key is of a module that is refused with a reason."""
    reasons = (r for r in tuned.recipes.values() if isinstance(r, Unreadable))
    return any(tuned.given[key] is part for recipe in reasons for part in recipe.parts)


@pytest.mark.parametrize("name", TYPES.values(), ids=TYPES)
def test_no_key_of_a_closed_form_is_lost(name: str, shelf: Shelf) -> None:
    _, folder, adapter = shelf(name)
    base = open_checkpoint(folder)
    tensors = load_file(adapter / "adapter_model.safetensors")
    first = next(key for key in tensors if key.startswith("base_model.model."))
    path = first.removesuffix(".weight").rpartition(".")[0].removesuffix(".ln_tuning_layers")
    for stray in (f"{path}.stray_part", "base_model.stray", "foo.bar"):
        rewritten(adapter, {**tensors, stray: torch.ones(3)})
        for opened in (base, None):
            tuned = open_tuned(adapter, opened)
            balanced(tuned)
            assert tuned.unmatched.get(stray), stray
    for key in list(tensors)[:6]:
        renamed = {f"{key}_x" if name == key else name: t for name, t in tensors.items()}
        rewritten(adapter, renamed)
        try:
            tuned = open_tuned(adapter, base)
        except BadAdapter as error:
            assert key.removeprefix("base_model.model.").rpartition(".")[0] in str(error)
            continue
        balanced(tuned)
        assert tuned.unmatched.get(f"{key}_x") or refused(tuned, f"{key}_x"), key
        if rest := {name: t for name, t in tensors.items() if name != key}:
            balanced(open_tuned(rewritten(adapter, rest), base))


@pytest.mark.parametrize("type", MERGED)
def test_no_key_of_what_peft_merges_is_lost(
    type: str, benches: dict[str, Bench], tmp_path: Path
) -> None:
    bench = benches["llama"]
    settings = {"oft_block_size": 6} if type == "OFT" else {"r": 4}
    adapter = models.save_adapter(bench.model, Case(type, settings).config(), tmp_path)
    tensors = load_file(adapter / "adapter_model.safetensors")
    balanced(open_tuned(adapter))
    own = next(key for key in tensors if key.startswith("base_model.model."))
    module = own.removeprefix("base_model.model.").partition(f".{type.lower()}")[0]
    for stray in (f"base_model.model.{module}.stray_part", "foo.bar"):
        tuned = open_tuned(rewritten(adapter, {**tensors, stray: torch.ones(3)}), bench.opened)
        balanced(tuned)
        assert tuned.unmatched.get(stray), stray
    inside = f"base_model.model.{module}.{type.lower()}_stray"  # PEFT's to know, when it merges
    diff = ftdiff.compare(bench.folder, rewritten(adapter, {**tensors, inside: torch.ones(3)}))
    assert f"has no place for {type.lower()}_stray" in diff.about["unreadable"][f"{module}.weight"]
    assert diff.about["parts"]["unreadable"]["tensors"] > 1
    assert account.fates(open_tuned(adapter, bench.opened)).keys() == {*tensors, inside}
