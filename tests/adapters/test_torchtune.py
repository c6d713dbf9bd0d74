"""torchtune's names and order of rows, and PEFT's factors without a configuration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ftdiff.adapters import open_tuned
from ftdiff.comparison.engine import compare
from ftdiff.errors import BadAdapter
from ftdiff.formats.note import Note
from ftdiff.tensors import Array
from tests.adapters.files import base, change, close, configure, random, write

A, B = random(2, 6), random(16, 2)
LLAMA = {"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2}
NAMES = {
    "attn.q_proj": "self_attn.q_proj",
    "attn.k_proj": "self_attn.k_proj",
    "attn.v_proj": "self_attn.v_proj",
    "attn.output_proj": "self_attn.o_proj",
    "mlp.w1": "mlp.gate_proj",
    "mlp.w2": "mlp.down_proj",
    "mlp.w3": "mlp.up_proj",
}


def _path(folder: Path, module: str, **more: Array) -> Path:
    tensors = {f"layers.0.{module}.lora_a.weight": A, f"layers.0.{module}.lora_b.weight": B}
    tensors |= {f"layers.0.{module}.{part}": tensor for part, tensor in more.items()}
    configure(folder, peft_type="LORA", r=2, lora_alpha=4)
    return write(folder / "adapter.safetensors", tensors)


def _base(module: str, **config: object) -> tuple[str, object]:
    name = f"model.layers.0.{module}.weight"
    return name, base(config, **{name.replace(".", "__"): (16, 6)})


def _halves(rows: Array, heads: int) -> Array:
    """Put pairs of rows half a head apart."""
    size = len(rows) // heads
    order = [h * size + 2 * i + j for h in range(heads) for j in (0, 1) for i in range(size // 2)]
    return rows[order]


@pytest.mark.parametrize(("ours", "theirs"), NAMES.items())
def test_names_are_found_in_a_base_of_hugging_face(tmp_path: Path, ours: str, theirs: str) -> None:
    name, opened = _base(theirs, **LLAMA)
    tuned = open_tuned(_path(tmp_path, ours), opened)
    heads = {"self_attn.q_proj": 4, "self_attn.k_proj": 2}.get(theirs)
    rows = _halves(B, heads) if heads else B
    assert close(change(tuned, name, opened), 2 * rows @ A)
    assert tuned.scalings[name] == "α/r = 4/2, adapter_config.json"
    codes = [note.code for note in tuned.notes if isinstance(note, Note)]
    assert codes == ["row-order-restored"] * bool(heads)


def test_rows_stay_in_a_base_of_torchtunes_own_names(tmp_path: Path) -> None:
    opened = base(LLAMA, layers__0__attn__q_proj__weight=(16, 6))
    tuned = open_tuned(_path(tmp_path, "attn.q_proj"), opened)
    assert close(change(tuned, "layers.0.attn.q_proj.weight", opened), 2 * B @ A)
    assert not tuned.notes


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "qwen2", "num_attention_heads": 4}, False),
        ({"model_type": "llama"}, True),
        ({"model_type": "llama", "num_attention_heads": 3}, True),
        ({}, True),
    ],
)
def test_an_order_that_is_not_known_is_said(
    tmp_path: Path, config: dict[str, object], said: bool
) -> None:
    name, opened = _base("self_attn.q_proj", **config)
    tuned = open_tuned(_path(tmp_path, "attn.q_proj"), opened)
    assert close(change(tuned, name, opened), 2 * B @ A)
    codes = [note.code for note in tuned.notes if isinstance(note, Note)]
    assert codes == ["row-order-unknown"] * said


def test_magnitudes_move_with_their_rows(tmp_path: Path) -> None:
    name, opened = _base("self_attn.q_proj", **LLAMA)
    m = np.abs(random(16)) + 0.5
    tuned = open_tuned(_path(tmp_path, "attn.q_proj", magnitude=m), opened)
    W = opened.tensors[name].read().astype("f8")
    summed = W + 2 * _halves(B, 4) @ A
    wanted = _halves(m[:, None], 4) * summed / np.linalg.norm(summed, axis=1, keepdims=True) - W
    assert close(change(tuned, name, opened), wanted)
    assert tuned.kind == "dora"


def test_a_magnitude_of_another_size_is_a_reason(tmp_path: Path) -> None:
    name, opened = _base("self_attn.v_proj")
    tuned = open_tuned(_path(tmp_path, "attn.v_proj", magnitude=random(5)), opened)
    with pytest.raises(BadAdapter, match=r"magnitude \(5\) does not fit 16 outputs"):
        tuned.recipes[name].moments(opened.tensors[name])


def test_what_the_base_lacks_is_named(tmp_path: Path) -> None:
    _, opened = _base("self_attn.q_proj")
    tuned = open_tuned(_path(tmp_path, "attn.w9"), opened)
    assert "nor what Hugging Face calls it" in tuned.lost["layers.0.attn.w9.weight"]


PEFT = {
    "base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight": A,
    "base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight": B,
}


@pytest.mark.parametrize("ending", [".weight", ".default.weight"])
def test_bare_factors_take_their_alpha_from_the_metadata(tmp_path: Path, ending: str) -> None:
    tensors = {key.replace(".weight", ending): tensor for key, tensor in PEFT.items()}
    path = write(tmp_path / "lora.safetensors", tensors, lora_alpha="6")
    name, opened = _base("self_attn.v_proj")
    tuned = open_tuned(path, opened)
    assert close(change(tuned, name, opened), 3 * B @ A)
    assert compare(opened, path).about["kind"] == "lora"


def test_bare_factors_take_the_configuration_beside_them(tmp_path: Path) -> None:
    path = write(tmp_path / "lora.safetensors", PEFT)
    configure(tmp_path, peft_type="LORA", r=2, lora_alpha=8, use_rslora=True)
    name, opened = _base("self_attn.v_proj")
    assert close(change(open_tuned(path, opened), name, opened), 8 / np.sqrt(2) * B @ A)


@pytest.mark.parametrize("alpha", [None, "many", "nan"])
def test_bare_factors_without_an_alpha_ask_for_one(tmp_path: Path, alpha: str | None) -> None:
    told = {} if alpha is None else {"lora_alpha": alpha}
    path = write(tmp_path / "lora.safetensors", PEFT, **told)
    with pytest.raises(BadAdapter, match=r'beside it: \{"peft_type": "LORA"'):
        open_tuned(path)
