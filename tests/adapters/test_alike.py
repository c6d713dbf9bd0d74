"""Adapters of one configuration and one list of keys are planned once, each with its tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ftdiff.adapters import alike, open_several, open_tuned
from ftdiff.analyses.pairwise import line_up
from ftdiff.deltas.recipes import Tuned
from ftdiff.tensors import Array

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}


def adapter(folder: Path, seed: int, layers: int = 2, **config: Any) -> str:
    rng = np.random.default_rng(seed)
    state: dict[str, Array] = {}
    for layer in range(layers):
        path = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        state[f"{path}.lora_A.weight"] = rng.standard_normal((2, 6), np.float32)
        state[f"{path}.lora_B.weight"] = rng.standard_normal((4, 2), np.float32)
    folder.mkdir()
    save_file(state, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    return str(folder)


@pytest.fixture
def several(tmp_path: Path) -> list[str]:
    """Three that are alike, one of which has a neighbour, one of more layers, one of another α."""
    made = [adapter(tmp_path / name, seed) for seed, name in enumerate("abc")]
    made.append(adapter(tmp_path / "deep", 3, layers=3))
    made.append(adapter(tmp_path / "loud", 4, lora_alpha=8))
    made.append(adapter(tmp_path / "d", 5))
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "b" / "more.safetensors")
    return made


def told(one: Tuned) -> tuple[Any, ...]:
    products = {name: recipe.delta(None).dense().tolist() for name, recipe in one.recipes.items()}
    facts = one.source, one.kind, one.config, one.scalings, one.unmatched, one.spent, one.files
    return products, *facts, [str(note) for note in one.notes], [*one.given]


def test_each_is_what_it_is_when_it_is_opened_alone(several: list[str]) -> None:
    found = open_several(several, None)
    assert found.like == (0, 0, 0, 3, 4, 0)
    for one, source in zip(found.tuned, several, strict=True):
        assert told(one) == told(open_tuned(source))
    assert sum("more.safetensors" in str(note) for note in found.tuned[1].notes) == 1
    assert not any("more.safetensors" in str(note) for note in found.tuned[2].notes)


def test_a_lineup_is_that_of_each_planned_by_itself(
    several: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = line_up(None, several)
    monkeypatch.setattr(alike, "is_moved", lambda *_: False)
    alone = line_up(None, several)
    assert [*map(told, shared.tuned)] == [*map(told, alone.tuned)]
    assert shared.names == alone.names and shared.apart == alone.apart
    for one, other in zip(shared.lines, alone.lines, strict=True):
        assert (one.address, one.shape, one.unknown) == (other.address, other.shape, other.unknown)
        for mine, its in zip(one.recipes, other.recipes, strict=True):
            assert (mine is None) == (its is None)
            if mine is not None and its is not None:
                assert np.array_equal(mine.delta(None).dense(), its.delta(None).dense())


def test_a_broken_one_is_told_as_when_it_is_opened_alone(several: list[str]) -> None:
    path = Path(several[2]) / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(Exception, match="adapter_model") as alone:
        open_tuned(several[2])
    with pytest.raises(type(alone.value), match="adapter_model") as together:
        open_several(several, None)
    assert str(together.value) == str(alone.value)
