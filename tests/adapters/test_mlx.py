"""Folders of MLX-LM: factors in × r and r × out, and a scale that is final."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ftdiff.adapters import open_tuned
from ftdiff.comparison.engine import compare
from ftdiff.errors import BadAdapter, BadFile
from ftdiff.tensors import Array
from tests.adapters.files import Tensors, base, change, close, configure, random, write

Q = "model.layers.0.self_attn.q_proj"
EMBED = "model.embed_tokens"
MOE = "model.layers.0.mlp.switch_mlp.gate_proj"
A, B = random(6, 3), random(3, 8)


def _folder(path: Path, tensors: Tensors, kind: str = "lora", scale: object = 20.0) -> Path:
    write(path / "adapters.safetensors", tensors)
    parameters = {"rank": 3, "scale": scale, "dropout": 0.0}
    configure(path, fine_tune_type=kind, num_layers=16, lora_parameters=parameters)
    return path


def test_a_linear_layer_is_scaled_without_dividing_by_the_rank(tmp_path: Path) -> None:
    opened = base(**{f"{Q}.weight".replace(".", "__"): (8, 6)})
    tuned = open_tuned(_folder(tmp_path, {f"{Q}.lora_a": A, f"{Q}.lora_b": B}), opened)
    assert close(change(tuned, f"{Q}.weight", opened), 20 * (A @ B).T)
    assert tuned.scalings[f"{Q}.weight"].startswith("20: scale in adapter_config.json")
    assert (tuned.kind, tuned.recipes[f"{Q}.weight"].shape) == ("lora", (8, 6))


def test_a_square_layer_is_still_transposed(tmp_path: Path) -> None:
    opened, b = base(**{f"{Q}.weight".replace(".", "__"): (6, 6)}), random(3, 6)
    tuned = open_tuned(_folder(tmp_path, {f"{Q}.lora_a": A, f"{Q}.lora_b": b}), opened)
    assert close(change(tuned, f"{Q}.weight", opened), 20 * (A @ b).T)


def test_the_weights_file_may_be_named_itself(tmp_path: Path) -> None:
    _folder(tmp_path, {f"{Q}.lora_a": A, f"{Q}.lora_b": B})
    tuned = open_tuned(tmp_path / "adapters.safetensors")
    assert close(change(tuned, f"{Q}.weight"), 20 * (A @ B).T)


@pytest.mark.parametrize("width", [8, 6])
def test_an_embedding_is_not_transposed(tmp_path: Path, width: int) -> None:
    b = random(3, width)  # a square one is known by its name
    opened = base(model__embed_tokens__weight=(6, width))
    tuned = open_tuned(_folder(tmp_path, {f"{EMBED}.lora_a": A, f"{EMBED}.lora_b": b}), opened)
    assert close(change(tuned, f"{EMBED}.weight", opened), 20 * A @ b)


@pytest.mark.parametrize(("path", "embedding"), [(Q, False), (EMBED, True)])
def test_dora_has_the_norm_of_the_sum(tmp_path: Path, path: str, embedding: bool) -> None:
    shape = (6, 8) if embedding else (8, 6)
    opened = base(**{f"{path}.weight".replace(".", "__"): shape})
    W = opened.tensors[f"{path}.weight"].read().astype("f8")
    m = np.abs(random(shape[0])) + 0.5
    tensors = {f"{path}.lora_a": A, f"{path}.lora_b": B, f"{path}.m": m}
    summed = W + 20 * (A @ B if embedding else (A @ B).T)
    wanted = m[:, None] * summed / np.linalg.norm(summed, axis=1, keepdims=True) - W
    tuned = open_tuned(_folder(tmp_path, tensors, "dora"), opened)
    assert close(change(tuned, f"{path}.weight", opened), wanted)
    assert tuned.kind == "dora"


def _experts() -> tuple[Tensors, Array]:
    a, b = random(4, 3, 6), random(4, 8, 3)
    return {f"{MOE}.lora_a": a, f"{MOE}.lora_b": b}, 20 * (b.astype("f8") @ a)


def test_stacked_experts_are_multiplied_one_by_one(tmp_path: Path) -> None:
    tensors, wanted = _experts()
    opened = base(**{f"{MOE}.weight".replace(".", "__"): (4, 8, 6)})
    tuned = open_tuned(_folder(tmp_path, tensors), opened)
    assert close(change(tuned, f"{MOE}.weight", opened), wanted.reshape(32, 6))
    row = compare(opened, tuned).frame.loc[0]
    assert row["delta_sq"] == pytest.approx(np.square(wanted).sum(), rel=1e-5)


def test_experts_that_the_base_stores_apart_are_its_own_tensors(tmp_path: Path) -> None:
    tensors, wanted = _experts()
    names = [f"model.layers.0.mlp.experts.{e}.gate_proj.weight" for e in range(4)]
    opened = base(**{name.replace(".", "__"): (8, 6) for name in names})
    tuned = open_tuned(_folder(tmp_path, tensors), opened)
    assert sorted(tuned.recipes) == names
    for name, dW in zip(names, wanted, strict=True):
        assert close(change(tuned, name, opened), dW)


def test_a_full_fine_tune_replaces_and_leaves_the_rest(tmp_path: Path) -> None:
    names = {f"{Q}__weight".replace(".", "__"): (8, 6), "lm_head__weight": (9, 6)}
    opened = base(**names)
    new = random(8, 6)
    frame = compare(opened, _folder(tmp_path, {f"{Q}.weight": new}, "full")).frame
    status = dict(zip(frame["tensor"], frame["status"], strict=True))
    assert status == {f"{Q}.weight": "changed", "lm_head.weight": "untouched"}


REFUSED = {
    "half": ({f"{Q}.lora_a": A}, r"adapter has lora_a \(6×3\) but no lora_b"),
    "ranks": ({f"{Q}.lora_a": A, f"{Q}.lora_b": random(4, 8)}, "do not multiply"),
    "magnitude": (
        {f"{Q}.lora_a": A, f"{Q}.lora_b": B, f"{Q}.m": random(5)},
        r"m \(5\) does not fit 8 rows",
    ),
}


@pytest.mark.parametrize(("tensors", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_broken_module_says_why(tmp_path: Path, tensors: Tensors, reason: str) -> None:
    opened = base(**{f"{Q}.weight".replace(".", "__"): (8, 6)})
    recipe = open_tuned(_folder(tmp_path, tensors), opened).recipes[f"{Q}.weight"]
    with pytest.raises(BadAdapter, match=reason):
        recipe.moments(opened.tensors[f"{Q}.weight"])


@pytest.mark.parametrize("scale", [None, "20", True, float("nan")])
def test_a_configuration_without_a_scale_is_refused(tmp_path: Path, scale: object) -> None:
    folder = _folder(tmp_path, {f"{Q}.lora_a": A, f"{Q}.lora_b": B}, scale=scale)
    with pytest.raises(BadAdapter, match="has no finite scale"):
        open_tuned(folder)


def test_factors_without_a_configuration_ask_for_it(tmp_path: Path) -> None:
    path = write(tmp_path / "adapters.safetensors", {f"{Q}.lora_a": A, f"{Q}.lora_b": B})
    with pytest.raises(BadFile, match=r"adapter_config\.json: No such file"):
        open_tuned(path)


def test_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadAdapter, match="'oft' is not lora, dora or full"):
        open_tuned(_folder(tmp_path, {f"{Q}.lora_a": A}, "oft"))
