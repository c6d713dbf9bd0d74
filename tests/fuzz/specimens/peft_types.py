"""An adapter of every type of PEFT's, written by PEFT where it can be."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import peft
from safetensors.numpy import save_file

from ftdiff.adapters.peft.capabilities import read_table
from tests.fuzz.specimens import INSPECT, Add
from tests.oracle import closed_forms, models, peft_cases

CONFIG, WEIGHTS = "tuned/adapter_config.json", "tuned/adapter_model.safetensors"


def write(root: Path, add: Add) -> None:
    """Write an adapter of each type, and damage its configuration and its weights."""
    made = {kind: (config, model) for kind, config, model in _cases()}
    folders: dict[str, Path] = {}
    for _, model in made.values():
        if model.__name__ not in folders:
            folders[model.__name__] = folder = root / f"base of {model.__name__}"
            folder.mkdir()
            models.save_model(model(), folder)
    for kind in read_table():
        config, model = made.get(kind, (None, models.llama))
        base = f"{{root}}/base of {model.__name__}"
        compare = ("compare", base, "{}/tuned", "-j", "1", "--format", "json")
        audit = ("audit", base, "{}/tuned", "-j", "1")

        def make(at: Path, kind: str = kind, config: Any = config, model: Any = model) -> None:
            if config is None:
                _by_hand(at / "tuned", kind)
                return
            models.save_adapter(model(), config, at / "tuned")
            (at / "tuned" / "README.md").unlink(missing_ok=True)

        refused = all(row.way == "refused" for row in read_table()[kind])
        calls = (INSPECT,) if refused else (compare, INSPECT)
        add(f"PEFT {kind}", "json", CONFIG, calls if refused else (compare, *calls, audit), make)

        def copy(at: Path, kind: str = kind) -> None:
            shutil.copytree(at.parent / f"PEFT {kind}", at, dirs_exist_ok=True)

        add(f"PEFT {kind}, weights", "safetensors", WEIGHTS, calls, copy)


def _cases() -> Iterator[tuple[str, Any, Any]]:
    """Yield type, configuration and model, of each type once."""
    seen: set[str] = set()
    plain = {"llama": models.llama, "biased": closed_forms.biased}
    cases: list[tuple[str, Any, Any]] = [
        (case.type, case.config, plain[case.on]) for case in peft_cases.CASES if case.on in plain
    ]
    cases += [(case.type, case.config, case.model) for case in closed_forms.CASES.values()]
    for kind, config, model in cases:
        if kind not in seen:
            seen.add(kind)
            yield kind, config(), model
    for kind, told in peft_cases.BESIDE.items():
        made = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(kind)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield kind, made(**told), models.llama


def _by_hand(folder: Path, kind: str) -> None:
    folder.mkdir()
    path = "base_model.model.model.layers.0.self_attn.q_proj"
    shapes = {"lora_A.weight": (2, 24), "lora_B.weight": (24, 2)}
    held = {f"{path}.{part}": np.full(shape, 0.1, np.float32) for part, shape in shapes.items()}
    save_file(held, folder / "adapter_model.safetensors")
    told = {"peft_type": kind, "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(told))
