"""Files of sd-scripts and LyCORIS, written as those tools write them, with ΔW derived by hand."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ftdiff.adapters import open_tuned
from ftdiff.comparison.engine import compare
from ftdiff.errors import BadAdapter
from ftdiff.formats import Checkpoint, open_checkpoint
from ftdiff.formats.note import Note
from ftdiff.tensors import Array

Tensors = dict[str, Array]
RNG = np.random.default_rng(7)
MODULE = "lora_unet_down_blocks_0_attentions_1_to_q"
NAME = "down_blocks.0.attentions.1.to_q.weight"


def _random(*shape: int) -> Array:
    return (RNG.standard_normal(shape) * 0.3).astype("f4")


def _dense(tensor: Array) -> Array:
    return tensor.astype("f8").reshape(tensor.shape[0], -1)


def _norms(W: Array, axis: int) -> Array:
    """Norm of every output (0) or input (1) channel, kernels included, to divide by."""
    others = tuple(i for i in range(W.ndim) if i != axis)
    return np.sqrt(np.square(W, dtype="f8").sum(axis=others, keepdims=True))


def lora(W: Array) -> tuple[Tensors, Array]:
    up = _random(W.shape[0], 3, *(1 for _ in W.shape[2:]))
    down = _random(3, *W.shape[1:])
    dW = 2 / 3 * _dense(up) @ _dense(down)
    return {"lora_up.weight": up, "lora_down.weight": down, "alpha": np.float32(2)}, dW


def lora_without_alpha(W: Array) -> tuple[Tensors, Array]:
    tensors, dW = lora(W)
    return {name: t for name, t in tensors.items() if name != "alpha"}, dW * 3 / 2


def lora_with_alpha_zero(W: Array) -> tuple[Tensors, Array]:
    tensors, dW = lora(W)
    return {**tensors, "alpha": np.float32(0)}, dW * 3 / 2


def tucker(W: Array) -> tuple[Tensors, Array]:
    up, down = _random(W.shape[0], 3, 1, 1), _random(3, W.shape[1], 1, 1)
    mid = _random(3, 3, *W.shape[2:])
    dW = np.einsum("oa,abhw,bi->oihw", up[:, :, 0, 0], mid, down[:, :, 0, 0])
    parts = {"lora_up.weight": up, "lora_mid.weight": mid, "lora_down.weight": down}
    return {**parts, "alpha": np.float32(6)}, 2 * _dense(dW)


def loha(W: Array) -> tuple[Tensors, Array]:
    into = W[0].size
    w1, w2 = (_random(W.shape[0], 2), _random(2, into)), (_random(W.shape[0], 2), _random(2, into))
    parts = {"hada_w1_a": w1[0], "hada_w1_b": w1[1], "hada_w2_a": w2[0], "hada_w2_b": w2[1]}
    return {**parts, "alpha": np.float32(1)}, 0.5 * (w1[0] @ w1[1]) * (w2[0] @ w2[1])


def loha_tucker(W: Array) -> tuple[Tensors, Array]:
    parts: Tensors = {"alpha": np.float32(4)}
    dW: Array = np.ones(W.shape)
    for i in (1, 2):
        core, a, b = _random(2, 2, *W.shape[2:]), _random(2, W.shape[0]), _random(2, W.shape[1])
        parts |= {f"hada_t{i}": core, f"hada_w{i}_a": a, f"hada_w{i}_b": b}
        dW = dW * np.einsum("abhw,ao,bi->oihw", core, a, b)
    return parts, 2 * _dense(dW)


def lokr(W: Array) -> tuple[Tensors, Array]:
    w1 = _random(2, 2)
    a = _random(W.shape[0] // 2, 1)
    b = _random(1, W[0].size // 2)
    parts = {"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": np.float32(3)}
    return parts, 3 * np.kron(w1, a @ b)


def lokr_both_factored(W: Array) -> tuple[Tensors, Array]:
    a1, b1 = _random(4, 2), _random(2, 2)
    a2, b2 = _random(W.shape[0] // 4, 2), _random(2, W[0].size // 2)
    parts = {"lokr_w1_a": a1, "lokr_w1_b": b1, "lokr_w2_a": a2, "lokr_w2_b": b2}
    return {**parts, "alpha": np.float32(1)}, 0.5 * np.kron(a1 @ b1, a2 @ b2)


def lokr_whole(W: Array) -> tuple[Tensors, Array]:
    w1, w2 = _random(2, 2), _random(W.shape[0] // 2, W.shape[1] // 2, *W.shape[2:])
    parts = {"lokr_w1": w1, "lokr_w2": w2, "alpha": np.float32(64)}  # no rank: alpha is ignored
    return parts, np.kron(w1, _dense(w2))


def lokr_tucker(W: Array) -> tuple[Tensors, Array]:
    w1, core = _random(2, 2), _random(3, 3, *W.shape[2:])
    a, b = _random(3, W.shape[0] // 2), _random(3, W.shape[1] // 2)
    w2 = np.einsum("abhw,ao,bi->oihw", core, a, b)
    parts = {"lokr_w1": w1, "lokr_t2": core, "lokr_w2_a": a, "lokr_w2_b": b}
    return {**parts, "alpha": np.float32(3)}, np.kron(w1, _dense(w2))


def full(W: Array) -> tuple[Tensors, Array]:
    diff = _random(*W.shape)
    return {"diff": diff}, _dense(diff)


def ia3_on_output(W: Array) -> tuple[Tensors, Array]:
    w = _random(W.shape[0])
    return {"weight": w, "on_input": np.int64(0)}, _dense(W) * w[:, None]


def ia3_on_input(W: Array) -> tuple[Tensors, Array]:
    w = _random(W.shape[1])
    dW = W * w.reshape(1, -1, *(1 for _ in W.shape[2:]))
    return {"weight": w, "on_input": np.int64(1)}, _dense(dW)


def dora(axis: int, change: Callable[[Array], tuple[Tensors, Array]]) -> Callable[..., object]:
    def make(W: Array) -> tuple[Tensors, Array]:
        tensors, dL = change(W)
        summed = W + dL.reshape(W.shape)
        magnitude = (_norms(W, axis) * RNG.uniform(0.5, 2, _norms(W, axis).shape)).astype("f4")
        return {**tensors, "dora_scale": magnitude}, _dense(
            magnitude * summed / _norms(summed, axis) - W
        )

    return make


LINEAR, CONV, POINT = (8, 6), (8, 6, 3, 3), (8, 6, 1, 1)
CASES = {
    "lora": (lora, LINEAR, "lora"),
    "locon": (lora, CONV, "lora"),
    "locon 1×1": (lora, POINT, "lora"),
    "lora without alpha": (lora_without_alpha, LINEAR, "lora"),
    "lora with alpha 0": (lora_with_alpha_zero, LINEAR, "lora"),
    "locon with a core": (tucker, CONV, "lora"),
    "loha": (loha, LINEAR, "loha"),
    "loha of a convolution": (loha, CONV, "loha"),
    "loha with cores": (loha_tucker, CONV, "loha"),
    "lokr": (lokr, LINEAR, "lokr"),
    "lokr of a convolution": (lokr, CONV, "lokr"),
    "lokr, both factored": (lokr_both_factored, LINEAR, "lokr"),
    "lokr, both whole": (lokr_whole, LINEAR, "lokr"),
    "lokr of a convolution, both whole": (lokr_whole, CONV, "lokr"),
    "lokr with a core": (lokr_tucker, CONV, "lokr"),
    "full": (full, CONV, "lycoris-full"),
    "ia3 on outputs": (ia3_on_output, CONV, "ia3"),
    "ia3 on inputs": (ia3_on_input, CONV, "ia3"),
    "dora by output": (dora(0, lora), LINEAR, "dora"),
    "dora by output of a convolution": (dora(0, lora), CONV, "dora"),
    "dora by input": (dora(1, lora), LINEAR, "dora"),
    "dora by input of a convolution": (dora(1, lora), CONV, "dora"),
    "dora of a loha": (dora(0, loha), CONV, "dora"),
    "dora of a lokr by input": (dora(1, lokr), CONV, "dora"),
}


def _write(path: Path, modules: Mapping[str, Tensors], **metadata: str) -> Path:
    tensors = {
        f"{module}.{part}": np.ascontiguousarray(tensor)
        for module, parts in modules.items()
        for part, tensor in parts.items()
    }
    save_file(tensors, path / "lora.safetensors", metadata or None)
    return path / "lora.safetensors"


def _base(*shape: int) -> Checkpoint:
    return open_checkpoint({NAME: _random(*shape), "conv_in.weight": _random(4, 3, 1, 1)})


@pytest.mark.parametrize(("make", "shape", "kind"), CASES.values(), ids=CASES)
def test_the_change_is_the_tools_own(
    tmp_path: Path,
    make: Callable[[Array], tuple[Tensors, Array]],
    shape: tuple[int, ...],
    kind: str,
) -> None:
    base = _base(*shape)
    W = base.tensors[NAME]
    tensors, want = make(W.read())
    tuned = open_tuned(_write(tmp_path, {MODULE: tensors}), base)
    assert (tuned.kind, list(tuned.recipes), dict(tuned.unmatched)) == (kind, [NAME], {})
    recipe = pickle.loads(pickle.dumps(tuned.recipes[NAME]))
    assert recipe.shape == shape
    delta = recipe.delta(W)
    scale = float(np.linalg.norm(want))
    assert np.linalg.norm(delta.dense() - want) <= 1e-5 * scale
    assert delta.inner(_dense(W.read())) == pytest.approx(
        float((_dense(W.read()) * want).sum()), abs=1e-5 * scale * float(np.linalg.norm(W.read()))
    )
    wanted = np.linalg.svd(want, compute_uv=False)
    found = delta.singular_values()
    np.testing.assert_allclose(found, wanted[: len(found)], atol=1e-5 * scale)
    np.testing.assert_allclose(wanted[len(found) :], 0, atol=1e-5 * scale)
    row = compare(base, tuned).frame.set_index("tensor").loc[NAME]
    assert row["delta_sq"] == pytest.approx(scale**2, rel=1e-5)
    assert row["tuned_sq"] == pytest.approx(np.square(_dense(W.read()) + want).sum(), rel=1e-5)


def test_norms_and_biases_are_differences(tmp_path: Path) -> None:
    names = ("norm.weight", "norm.bias", "proj.weight", "proj.bias")
    base = open_checkpoint({f"mid_block.0.{name}": _random(5) for name in names})
    w, b, bias = _random(5), _random(5), _random(5)
    modules = {
        "lora_unet_mid_block_0_norm": {"w_norm": w, "b_norm": b},
        "lora_unet_mid_block_0_proj": {"diff": _random(5), "diff_b": bias},
    }
    tuned = open_tuned(_write(tmp_path, modules), base)
    assert set(tuned.recipes) == {f"mid_block.0.{name}" for name in names}
    for name, want in (("norm.weight", w), ("norm.bias", b), ("proj.bias", bias)):
        found = tuned.recipes[f"mid_block.0.{name}"].delta(None).dense()
        np.testing.assert_array_equal(found.ravel(), want)


def test_scales_say_where_they_are_from(tmp_path: Path) -> None:
    base = _base(*LINEAR)
    W = base.tensors[NAME].read()
    told = {}
    for name in ("lora", "lora without alpha", "lora with alpha 0", "lokr, both whole"):
        tensors, _ = CASES[name][0](W)
        told[name] = open_tuned(_write(tmp_path, {MODULE: tensors}), base).scalings[NAME]
    assert told == {
        "lora": "α/r = 2/3, alpha in the file",
        "lora without alpha": "1: no alpha in the file",
        "lora with alpha 0": "1: alpha is 0 in the file, which stands for the rank",
        "lokr, both whole": "1: both Kronecker factors are whole",
    }


def test_dora_names_its_convention(tmp_path: Path) -> None:
    base = _base(*LINEAR)
    tensors, _ = dora(0, lora)(base.tensors[NAME].read())
    tuned = open_tuned(_write(tmp_path, {MODULE: tensors}), base)
    assert "norm of W + ΔW for each output row" in tuned.notes[0]
    assert "ComfyUI" in tuned.notes[0]
    assert [note.code for note in tuned.notes if isinstance(note, Note)] == ["dora-of-trainer"]


def test_without_a_base_the_adapter_shows_its_names_with_their_dots(tmp_path: Path) -> None:
    tensors, want = lora(_random(*CONV))
    path = _write(tmp_path, {MODULE: tensors}, ss_network_dim="3", ss_base_model_version="sd_v1")
    diff = compare(None, path)
    row = diff.frame.set_index("tensor").loc[f"unet.{NAME}"]
    assert row["delta_sq"] == pytest.approx(np.square(want).sum(), rel=1e-5)
    assert row["shape"] == CONV
    assert "the file says: rank 3, for sd_v1" in diff.about["notes"]
    assert {"code": "trainer-metadata"} in diff.about["reasons"]


def test_a_key_that_the_base_lacks_is_named_with_the_reason(tmp_path: Path) -> None:
    tensors, _ = lora(_random(*LINEAR))
    modules = {
        MODULE: tensors,
        "lora_unet_input_blocks_4_1_proj_in": lora(_random(*LINEAR))[0],
        "lora_te_text_model_encoder_layers_0_mlp_fc1": lora(_random(*LINEAR))[0],
    }
    path = _write(tmp_path, {**modules, "": {"strange": _random(2)}})
    tuned = open_tuned(path, _base(*LINEAR))
    assert tuned.unmatched == {".strange": "not a part of any adapter that is known"}
    assert tuned.lost == {
        "lora_unet_input_blocks_4_1_proj_in.weight": (
            "named as in the original (LDM) UNet; the base, named as in diffusers, has no such "
            "module"
        ),
        "lora_te_text_model_encoder_layers_0_mlp_fc1.weight": (
            "no tensor of the base has this name when its dots are flattened"
        ),
    }


def test_a_name_that_two_modules_flatten_to_is_not_guessed(tmp_path: Path) -> None:
    base = open_checkpoint(
        {"a_b.0.to_q.weight": _random(*LINEAR), "a.b_0.to_q.weight": _random(8, 6)}
    )
    path = _write(tmp_path, {"lora_unet_a_b_0_to_q": lora(_random(*LINEAR))[0]})
    lost = open_tuned(path, base).lost
    assert lost["lora_unet_a_b_0_to_q.weight"].startswith("ambiguous: a.b_0.to_q and a_b.0.to_q")


@pytest.mark.parametrize("prefix", ["", "unet.", "model.diffusion_model."])
def test_names_are_found_below_a_tower(tmp_path: Path, prefix: str) -> None:
    base = open_checkpoint(
        {
            f"{prefix}{NAME}": _random(*LINEAR),
            f"{prefix}conv_in.weight": _random(*LINEAR),
            f"text_encoder.{NAME}": _random(*LINEAR),
        }
    )
    modules = {module: lora(_random(*LINEAR))[0] for module in (MODULE, "lora_unet_conv_in")}
    tuned = open_tuned(_write(tmp_path, modules), base)
    assert set(tuned.recipes) == {f"{prefix}{NAME}", f"{prefix}conv_in.weight"}


def test_two_encoders_that_claim_one_tensor_are_not_added_up(tmp_path: Path) -> None:
    name = "text_model.encoder.layers.0.mlp.fc1"
    base = open_checkpoint({f"{name}.weight": _random(*LINEAR)})
    modules = {f"lora_te{i}_{name.replace('.', '_')}": lora(_random(*LINEAR))[0] for i in (1, 2)}
    recipe = open_tuned(_write(tmp_path, modules), base).recipes[f"{name}.weight"]
    with pytest.raises(BadAdapter, match="claimed by both lora_te1_"):
        recipe.moments(None)
    modules = {
        f"lora_te{i}_{name.replace('.', '_')}": lora(_random(rows, 6))[0]
        for i, rows in ((1, 8), (2, 10))
    }
    tuned = open_tuned(_write(tmp_path, modules), base)
    assert tuned.recipes[f"{name}.weight"].shape == LINEAR
    assert list(tuned.lost.values()) == [f"fits {name}.weight by its name, not its shape"]


BROKEN: dict[str, tuple[Tensors, str]] = {
    "half": ({"lora_down.weight": _random(3, 6)}, r"adapter has lora_down \(3×6\) but no lora_up"),
    "ranks": (
        {"lora_down.weight": _random(3, 6), "lora_up.weight": _random(8, 4)},
        r"lora_up \(8×4\) and lora_down \(3×6\) do not multiply",
    ),
    "alpha": (
        {**lora(_random(*LINEAR))[0], "alpha": np.float32("nan")},
        "alpha is nan",
    ),
    "alphas": ({**lora(_random(*LINEAR))[0], "alpha": _random(3)}, "alpha has shape 3"),
    "magnitude": (
        {**lora(_random(*LINEAR))[0], "dora_scale": _random(5, 1)},
        r"magnitudes \(5×1\) fit neither 8 outputs nor 6 inputs",
    ),
    "oft": ({"oft_blocks": _random(2, 2, 2), "alpha": np.float32(1)}, "not computed"),
    "glora": ({"a1.weight": _random(2, 6), "a2.weight": _random(8, 2)}, "two historic layouts"),
    "a quarter of a loha": (
        {name: t for name, t in loha(_random(*LINEAR))[0].items() if name != "hada_w2_b"},
        "but no hada_w2_b",
    ),
    "one core": (
        {name: t for name, t in loha_tucker(_random(*CONV))[0].items() if name != "hada_t2"},
        "one of hada_t1 and hada_t2",
    ),
    "lokr": ({"lokr_w1": _random(2, 2), "alpha": np.float32(1)}, "but no lokr_w2_a"),
    "factors": ({"weight": _random(5), "on_input": np.int64(1)}, "5 factors for the inputs of 8×6"),
    "core": (
        {**lora(_random(*LINEAR))[0], "lora_mid.weight": _random(2, 2, 3, 3)},
        r"lora_mid \(2×2×3×3\) does not fit rank 3",
    ),
}


@pytest.mark.parametrize(("tensors", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_module_is_a_row_with_a_reason(
    tmp_path: Path, tensors: Tensors, reason: str
) -> None:
    path = _write(tmp_path, {MODULE: tensors, "lora_unet_conv_in": lora(_random(*POINT))[0]})
    base = _base(*LINEAR)
    diff = compare(base, path)
    row = diff.frame.set_index("tensor").loc[NAME]
    assert row["status"] == "unreadable"
    told = diff.about["unreadable"][NAME]
    assert told.startswith(MODULE)
    with pytest.raises(BadAdapter, match=reason):
        open_tuned(path, base).recipes[NAME].moments(base.tensors[NAME])


def test_an_alpha_alone_is_unmatched(tmp_path: Path) -> None:
    modules = {MODULE: {"alpha": np.float32(1)}, "lora_unet_conv_in": lora(_random(4, 3, 1, 1))[0]}
    tuned = open_tuned(_write(tmp_path, modules), _base(*LINEAR))
    assert tuned.unmatched == {f"{MODULE}.alpha": "alpha with nothing that it belongs to"}


def test_a_second_factor_of_one_module_is_named(tmp_path: Path) -> None:
    tensors, _ = lora(_random(*LINEAR))
    tensors = {**tensors, "lora_up.1.weight": tensors["lora_up.weight"]}
    tuned = open_tuned(_write(tmp_path, {MODULE: tensors}), _base(*LINEAR))
    assert [reason for name, reason in tuned.unmatched.items() if MODULE in name] == [
        f"a second up of {MODULE}; only the first is read"
    ]


def test_a_one_by_one_convolution_fits_a_linear_base(tmp_path: Path) -> None:
    tensors, want = lora(_random(*POINT))
    tuned = open_tuned(_write(tmp_path, {MODULE: tensors}), _base(*LINEAR))
    assert tuned.recipes[NAME].shape == LINEAR
    np.testing.assert_allclose(tuned.recipes[NAME].delta(None).dense(), want, rtol=1e-5)


def test_a_folder_with_the_file_alone_is_the_adapter(tmp_path: Path) -> None:
    _write(tmp_path, {MODULE: lora(_random(*LINEAR))[0]})
    assert open_tuned(tmp_path, _base(*LINEAR)).kind == "lora"


def test_several_kinds_are_counted(tmp_path: Path) -> None:
    modules = {
        MODULE: lora(_random(*LINEAR))[0],
        "lora_unet_a": lora(_random(*LINEAR))[0],
        "lora_unet_b": loha(_random(*LINEAR))[0],
    }
    tuned = open_tuned(_write(tmp_path, modules))
    assert tuned.kind == "lora"
    assert "several kinds of modules: 2 lora, 1 loha" in tuned.notes
    counted = {"code": "several-kinds", "kinds": {"lora": 2, "loha": 1}}
    assert counted in compare(None, tuned).about["reasons"]


def test_a_model_is_no_adapter(tmp_path: Path) -> None:
    save_file({NAME: _random(*LINEAR)}, tmp_path / "unet.safetensors")
    assert open_tuned(tmp_path / "unet.safetensors").kind == "full"
