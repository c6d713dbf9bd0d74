"""Every published layout of few bits is read as its own arithmetic has it; the rest is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import ftdiff
from ftdiff.deltas.recipes import Replaced
from ftdiff.errors import FtdiffError
from ftdiff.formats import Checkpoint, Quantised, open_checkpoint
from ftdiff.formats.quantised import Broken, dequantising
from ftdiff.formats.quantised.refusals import UNREAD
from ftdiff.tensors import ArrayTensor, FileTensor, LazyTensor, nbytes, numel, stored_as
from tests.formats.few_bits_layouts import LAYOUTS, Layout
from tests.tensors.sources import Asked

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
ROWS, COLUMNS = 48, 160


def original(rows: int = ROWS, columns: int = COLUMNS) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(5)) * 0.02


def write(layout: Layout, folder: Path, **config: Any) -> Path:
    """Write a model of one weight and a norm."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {**layout.parts, "norm.weight": torch.ones(4)}
    metadata = layout.metadata
    save_file({k: v.contiguous() for k, v in parts.items()}, folder / "model.safetensors", metadata)
    (folder / "config.json").write_text(json.dumps(layout.config | config))
    return folder


def values(tensor: LazyTensor, start: int = 0, stop: int | None = None) -> np.ndarray[Any, Any]:
    with tensor.window(start, numel(tensor.shape) if stop is None else stop) as lent:
        return lent.astype(np.float64)


@pytest.fixture(params=sorted(LAYOUTS))
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Layout, Path]:
    layout = LAYOUTS[request.param](original())
    return layout, write(layout, tmp_path / "q")


# what is read


def test_values_are_to_the_bit_those_of_the_published_arithmetic(
    stored: tuple[Layout, Path],
) -> None:
    layout, folder = stored
    opened = open_checkpoint(folder)
    assert set(opened.tensors) == {layout.name, "norm.weight"}
    tensor = opened.tensors[layout.name]
    assert isinstance(tensor, Quantised), getattr(tensor, "reason", tensor)
    assert (stored_as(tensor), tensor.shape) == (layout.scheme, tuple(layout.values.shape))
    wanted = layout.values.to(DTYPES[tensor.dtype]).double().numpy()
    np.testing.assert_array_equal(values(tensor).reshape(tensor.shape), wanted)
    if layout.values.ndim == 2:
        W = original().double()
        assert (layout.values.double() - W).norm() / W.norm() < layout.error
    told = f"1 tensors are stored as {layout.scheme}"
    assert [note for note in opened.notes if told in note]


def test_any_window_and_any_rows_are_parts_of_the_whole(stored: tuple[Layout, Path]) -> None:
    layout, folder = stored
    tensor = open_checkpoint(folder).tensors[layout.name]
    whole = values(tensor)
    draw = np.random.default_rng(4)
    for _ in range(25):
        start, stop = sorted(draw.integers(0, whole.size + 1, 2).tolist())
        np.testing.assert_array_equal(values(tensor, start, stop), whole[start:stop])
    rows = whole.reshape(tensor.shape)
    for part in (slice(0, 0), slice(2, 3), slice(1, None), slice(None, None, 2)):
        np.testing.assert_array_equal(tensor.read(part).astype(np.float64), rows[part])


def test_a_source_that_copies_is_asked_for_each_byte_once(stored: tuple[Layout, Path]) -> None:
    layout, folder = stored
    from ftdiff.formats import open_stored
    from ftdiff.formats.place import here

    opened = open_stored(here(folder / "model.safetensors"))
    asked: list[tuple[int, int]] = []
    tensors: dict[str, LazyTensor] = {}
    for name, tensor in opened.tensors.items():
        assert isinstance(tensor, FileTensor)
        source = Asked(tensor.source, asked)
        tensors[name] = FileTensor(source, tensor.offset, tensor.shape, tensor.dtype)
    checkpoint = Checkpoint(
        tensors, "copied", "safetensors", opened.config, metadata=opened.metadata
    )
    tensor = dequantising(checkpoint).tensors[layout.name]
    plain = open_checkpoint(folder).tensors[layout.name]
    asked.clear()
    whole, size = [], numel(tensor.shape)
    step = size // 3 // tensor.shape[-1] // 32 * 32 * tensor.shape[-1] or size
    for start in range(0, size, step):
        whole.append(values(tensor, start, min(start + step, size)))
    np.testing.assert_array_equal(np.concatenate(whole), values(plain))
    packed = max((tensors[part] for part in layout.parts), key=nbytes)
    assert isinstance(packed, FileTensor)
    held = range(packed.offset, packed.offset + nbytes(packed))
    runs = sum(stop - start for start, stop in asked if start in held)
    assert runs == nbytes(packed)


def test_every_value_lies_in_its_own_cell(stored: tuple[Layout, Path]) -> None:
    layout, folder = stored
    tensor = open_checkpoint(folder).tensors[layout.name]
    assert isinstance(tensor, Quantised)
    low, high = tensor.cells(7, numel(tensor.shape) - 3)
    own = values(tensor.held("F32"), 7, numel(tensor.shape) - 3)
    slack = 1e-6 * np.abs(own).max()
    assert ((low <= own + slack) & (own <= high + slack)).all()


def test_it_pickles_small_and_is_itself_again(stored: tuple[Layout, Path]) -> None:
    layout, folder = stored
    tensor = open_checkpoint(folder).tensors[layout.name]
    copy = pickle.loads(pickle.dumps(tensor))
    assert copy == tensor and hash(copy) == hash(tensor) and len(pickle.dumps(tensor)) < 1500
    assert tensor.storage == copy.storage is not None


def test_the_same_codes_are_known_and_others_are_not(
    stored: tuple[Layout, Path], tmp_path: Path
) -> None:
    layout, folder = stored
    again = write(layout, tmp_path / "again")
    one, two = (open_checkpoint(path).tensors[layout.name] for path in (folder, again))
    assert isinstance(one, Quantised) and isinstance(two, Quantised)
    size = numel(one.shape)
    for start, stop in ((0, size), (5, size - 5)):
        assert one.unpacked(start, stop).same(two.unpacked(start, stop))
    assert not one.unpacked(0, size).same(two.held("F64").unpacked(0, size))
    assert one.storage != two.storage
    state = load_file(again / "model.safetensors")
    packed = max(layout.parts, key=lambda part: layout.parts[part].nbytes)
    state[packed].view(torch.uint8).reshape(-1)[-1] ^= 1
    save_file(state, again / "model.safetensors", layout.metadata)
    two = open_checkpoint(again).tensors[layout.name]
    assert isinstance(two, Quantised)
    assert not one.unpacked(0, size).same(two.unpacked(0, size))


def test_its_floor_is_what_rounding_to_it_makes(stored: tuple[Layout, Path]) -> None:
    layout, folder = stored
    W = original()
    if layout.name != "m.weight":
        W = torch.stack([W, W.roll(1, 0), W.roll(2, 1)]).transpose(1, 2).contiguous()
    packed, plain = open_checkpoint(folder).tensors[layout.name], ArrayTensor(W.numpy())
    for base, tuned in ((plain, packed), (packed, plain)):
        sums = Replaced(tuned).moments(base).row()
        assert sums["ulp_sq"] and sums["delta_sq"] and sums["null_sq"] == 0
        assert sums["ulp_sq"] / 12 == pytest.approx(sums["delta_sq"], rel=0.25)


def test_the_floor_of_few_bits_is_printed_and_named(tmp_path: Path) -> None:
    plain = {"m.weight": original(), "norm.weight": torch.ones(4)}
    diff = ftdiff.compare(plain, write(LAYOUTS["float 8 by rows"](original()), tmp_path / "q"))
    row = diff.frame.set_index("tensor").loc["m.weight"]
    assert row["precision_floor"] == pytest.approx(row["relative_norm"], rel=0.05)
    assert pd.isna(row["snr"])  # nothing tells whether it is in the change
    said = [one.message for one in ftdiff.findings(diff)]
    told = "may be no more than the rounding of a side that is stored quantised, whose size"
    assert any(told in one for one in said) and not any("blurs" in one for one in said)


def test_torchao_s_tensors_are_of_the_dtype_that_their_metadata_tells(tmp_path: Path) -> None:
    layout = LAYOUTS["torchao, Int8Tensor"](original())
    told = json.loads((layout.metadata or {})["m.weight"])
    told["_data"]["dtype"]["_data"] = "bfloat16"
    metadata = {"m.weight": json.dumps(told)}
    held = Layout(layout.parts, layout.values, layout.scheme, 1, {}, metadata)
    tensor = open_checkpoint(write(held, tmp_path / "q", dtype="float16")).tensors["m.weight"]
    wanted = layout.values.to(torch.bfloat16).double().numpy()
    assert tensor.dtype == "BF16"
    np.testing.assert_array_equal(values(tensor).reshape(tensor.shape), wanted)


def test_experts_of_float_8_are_read_one_after_the_other(tmp_path: Path) -> None:
    W = original(96, 64).reshape(3, 32, 64)
    scale = W.reshape(3, 2, 16, 4, 16).abs().amax((2, 4)) / 448
    wide = scale.repeat_interleave(16, 1).repeat_interleave(16, 2)
    packed = (W / wide).to(torch.float8_e4m3fn)
    parts = {"m.weight": packed, "m.weight_scale_inv": scale}
    config = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 16]}}
    layout = Layout(parts, packed.float() * wide, "F8_E4M3", 0.03, config)
    tensor = open_checkpoint(write(layout, tmp_path / "q")).tensors["m.weight"]
    np.testing.assert_array_equal(tensor.read(), layout.values.numpy())


@pytest.mark.parametrize("scales", [(), (1,), (6,), (6, 1, 1, 1), (6, 4), (1, 1, 1, 1)])
@pytest.mark.parametrize("name", ["weight_scale", "scale_weight"])
def test_a_convolution_of_float_8_has_scales_of_its_first_axes(
    name: str, scales: tuple[int, ...], tmp_path: Path
) -> None:
    W = original(24, 9).reshape(6, 4, 3, 3)
    scale = torch.rand(scales, generator=torch.Generator().manual_seed(1)) + 0.5
    wide = scale.reshape(*scales, *(1,) * (4 - len(scales)))
    packed = (W / wide).to(torch.float8_e4m3fn)
    layout = Layout({"m.weight": packed, f"m.{name}": scale}, packed.float() * wide, "", 1)
    tensor = open_checkpoint(write(layout, tmp_path / "q")).tensors["m.weight"]
    np.testing.assert_array_equal(tensor.read(), layout.values.numpy())
    np.testing.assert_array_equal(values(tensor, 5, 100), values(tensor)[5:100])


def test_exponents_may_be_stored_as_such(tmp_path: Path) -> None:
    layout = LAYOUTS["ct mxfp4"](original())
    parts = dict(layout.parts)
    parts["m.weight_scale"] = parts["m.weight_scale"].view(torch.float8_e8m0fnu)
    held = Layout(parts, layout.values, "MXFP4", 1)
    tensor = open_checkpoint(write(held, tmp_path / "q")).tensors["m.weight"]
    np.testing.assert_array_equal(tensor.read(), layout.values.numpy())


# what is compared


@pytest.mark.parametrize("kind", ["ct int4 in groups", "ComfyUI, scale_weight", "MLX in 4 bits"])
def test_it_is_compared_with_the_original_as_its_values_are(kind: str, tmp_path: Path) -> None:
    W = original()
    layout = LAYOUTS[kind](W)
    plain = {"m.weight": W, "norm.weight": torch.ones(4)}
    frame = ftdiff.compare(plain, write(layout, tmp_path / "q")).frame.set_index("tensor")
    tensor = open_checkpoint(tmp_path / "q").tensors["m.weight"]
    held = values(tensor).reshape(W.shape) - W.double().numpy()
    wanted = np.linalg.norm(held) / W.double().norm().item()
    assert frame.loc["m.weight", "relative_norm"] == pytest.approx(wanted, rel=1e-6)
    assert frame.loc["m.weight", "relative_norm"] < layout.error
    assert list(frame["status"]) == ["changed", "identical"]


@pytest.mark.parametrize("kind", ["ct int4 with zeros", "ct int8 by group", "float 8 by rows"])
def test_spans_of_a_quantised_tensor_add_to_the_whole(kind: str, tmp_path: Path) -> None:
    W = original(1100, 480)  # more than a tile, of which none begins with a row
    layout = LAYOUTS[kind](W)
    tensor = open_checkpoint(write(layout, tmp_path / "q")).tensors["m.weight"]
    base, recipe = ArrayTensor(W.numpy()), Replaced(tensor)
    whole = recipe.moments(base)
    assert recipe.tiles(base) > 2
    spans = [recipe.moments(base, range(at, at + 1)) for at in range(recipe.tiles(base))]
    added = sum(spans[1:], spans[0])
    assert added.row() == whole.row() and whole.row()["ulp_sq"]


def test_two_files_of_the_same_codes_are_identical(tmp_path: Path) -> None:
    layout = LAYOUTS["ct int4 with zeros"](original())
    one, two = (write(layout, tmp_path / name) for name in "ab")
    frame = ftdiff.compare(one, two).frame
    assert set(frame["status"]) == {"identical"}
    assert frame.set_index("tensor")["base_sq"]["m.weight"] > 0


# what is refused


def refused(parts: dict[str, torch.Tensor], folder: Path, **config: Any) -> str:
    layout = Layout(parts, torch.zeros(0), "", 0, config)
    tensor = open_checkpoint(write(layout, folder)).tensors["m.weight"]
    assert isinstance(tensor, Broken)
    with pytest.raises(FtdiffError) as said:
        tensor.read()
    text = str(said.value)
    assert "m.weight" in text and str(folder) in text and "\n" not in text
    return text


I8 = torch.randint(-128, 128, (8, 32), dtype=torch.int8)
EIGHT = torch.ones(8, 32).to(torch.float8_e4m3fn)
METHOD = {"quant_method": "compressed-tensors"}


@pytest.mark.parametrize(
    "beside",
    [
        "weight_scale",
        "scale",
        "scales",
        "weight.scale",
        "weight_scaling_factor",
        "wscales",
        "scale_weight",
        "absmax",
        "weight_zero_point",
    ],
)
def test_whole_numbers_beside_a_scale_that_nobody_reads_are_no_weight(
    beside: str, tmp_path: Path
) -> None:
    said = refused({"m.weight": I8, f"m.{beside}": torch.ones(8)}, tmp_path / "q")
    assert f"stored as I8 beside m.{beside}, a scale that is not read here" in said
    diff = ftdiff.compare({"m.weight": I8.float(), "norm.weight": torch.ones(4)}, tmp_path / "q")
    statuses = diff.frame.set_index("tensor")["status"].to_dict()
    assert statuses == {"m.weight": "unreadable", "norm.weight": "identical"}


@pytest.mark.parametrize("beside", ["scale", "weight_scale_2", "input_scale", "logit_scale"])
def test_float_8_beside_a_scale_that_nobody_reads_is_no_weight(beside: str, tmp_path: Path) -> None:
    said = refused({"m.weight": EIGHT, f"m.{beside}": torch.ones(8)}, tmp_path / "q")
    assert f"stored as F8_E4M3 beside m.{beside}" in said


def test_float_8_without_a_scale_is_itself(tmp_path: Path) -> None:
    layout = Layout({"m.weight": EIGHT, "n.weight_scale": torch.ones(8)}, EIGHT.float(), "", 0)
    tensor = open_checkpoint(write(layout, tmp_path / "q")).tensors["m.weight"]
    assert isinstance(tensor, FileTensor)


def test_float_8_in_a_marked_file_needs_a_scale(tmp_path: Path) -> None:
    marked = {"m.weight": EIGHT, "scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)}
    assert "beside scaled_fp8" in refused(marked, tmp_path / "q")


def test_float_8_of_a_known_method_needs_a_scale(tmp_path: Path) -> None:
    layout = float_8_beside(LAYOUTS["float 8 by rows"](original()))
    folder = write(layout, tmp_path / "q", quantization_config={"quant_method": "fp8"})
    opened = open_checkpoint(folder).tensors
    bare = opened["bare.weight"]
    assert isinstance(opened["m.weight"], Quantised) and isinstance(bare, Broken)
    assert "in a checkpoint that fp8 quantised, without a scale" in bare.reason


def float_8_beside(layout: Layout) -> Layout:
    return Layout({**layout.parts, "bare.weight": EIGHT}, layout.values, layout.scheme, 1)


@pytest.mark.parametrize("method", [*UNREAD, "of-tomorrow"])
def test_methods_that_are_not_read_are_refused_by_name(method: str, tmp_path: Path) -> None:
    parts = {"m.W_q": torch.zeros(4, 4, dtype=torch.uint8), "m.scale": torch.ones(4)}
    folder = write(Layout(parts, torch.zeros(0), "", 0), tmp_path / "q")
    (folder / "config.json").write_text(
        json.dumps({"quantization_config": {"quant_method": method}})
    )
    with pytest.raises(FtdiffError) as said:
        open_checkpoint(folder)
    text = str(said.value)
    assert f"quantised by {UNREAD.get(method, method)}, which is not read here" in text
    assert "\n" not in text


def test_a_method_that_was_left_over_beside_floats_is_no_reason(tmp_path: Path) -> None:
    layout = Layout({"m.weight": torch.ones(4, 4)}, torch.ones(4, 4), "", 0)
    told = {"quant_method": "hqq"}
    opened = open_checkpoint(write(layout, tmp_path / "q", quantization_config=told))
    assert isinstance(opened.tensors["m.weight"], FileTensor)


LIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "no scale": ("ct int4 in groups", {"m.weight_scale": None}, "weight_scale is missing"),
    "no shape": ("ct int4 in groups", {"m.weight_shape": None}, "weight_shape is missing"),
    "another shape": (
        "ct int4 in groups", {"m.weight_shape": torch.tensor([47, 160])}, "weight_shape is [47, 16",
    ),
    "no bits": (
        "ct int4 in groups", {"m.weight_shape": torch.tensor([48, 170])}, "of whole bits",
    ),
    "three sides": (
        "ct int4 in groups", {"m.weight_shape": torch.tensor([48, 1, 160])}, "has 3 sides of 2",
    ),
    "scales that do not fit": (
        "ct int4 in groups", {"m.weight_scale": torch.ones(48, 7)}, "[48, 7] fit no [48, 160]",
    ),
    "zeros that do not fit": (
        "ct int4 with zeros", {"m.weight_zero_point": torch.zeros(5, 5, dtype=torch.int32)},
        "its zeros are I32 [5, 5]",
    ),
    "groups that do not fit": (
        "ct int4 by activation order", {"m.weight_g_idx": torch.zeros(9, dtype=torch.int32)},
        "g_idx is 9, expected 160",
    ),
    "a group beyond": (
        "ct int4 by activation order",
        {"m.weight_g_idx": torch.full((160,), 5, dtype=torch.int32)}, "names group 5 of 5",
    ),
    "runs that do not fit": (
        "ModelOpt, nvfp4", {"m.weight_scale": torch.ones(48, 9).to(torch.float8_e4m3fn)},
        "fit no [48, 160] in runs of 16",
    ),
    "no scale of the whole": (
        "ct nvfp4", {"m.weight_global_scale": None}, "weight_global_scale is missing",
    ),
    "several of the whole": (
        "ModelOpt, nvfp4", {"m.weight_scale_2": torch.ones(2)}, "the scale of the whole is F32 [2]",
    ),
    "fewer tiles": (
        "ComfyUI, nvfp4", {"m.weight_scale": torch.ones(48, 10).to(torch.float8_e4m3fn)},
        "no tiles of [48, 160] in runs of 16",
    ),
    "garbage": (
        "ComfyUI, comfy_quant", {"m.comfy_quant": torch.tensor([255, 0], dtype=torch.uint8)},
        "not valid JSON",
    ),
    "no biases": ("MLX in 4 bits", {"m.biases": None}, "m.biases is missing"),
    "other words": (
        "MLX in 4 bits", {"m.scales": torch.ones(48, 4)}, "are no 4 bits in groups of 32",
    ),
    "smoothed": (
        "ComfyUI, comfy_quant", {"m.pre_quant_scale": torch.ones(160)}, "pre_quant_scale",
    ),
    "scaled before": (
        "torchao, Int8Tensor", {"m._weight_act_pre_scale": torch.ones(160)}, "act_pre_scale",
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", sorted(LIES))
def test_a_lie_costs_its_tensor_alone_and_is_told_in_one_line(lie: str, tmp_path: Path) -> None:
    kind, edits, said = LIES[lie]
    layout = LAYOUTS[kind](original())
    parts = {k: v for k, v in {**layout.parts, **edits}.items() if v is not None}
    held = Layout(parts, layout.values, "", 0, layout.config, layout.metadata)
    folder = write(held, tmp_path / "q")
    plain = {"m.weight": original(), "norm.weight": torch.ones(4)}
    diff = ftdiff.compare(plain, folder)
    (reason,) = diff.about["unreadable"].values()
    assert said in reason and str(folder) in reason and "\n" not in reason, reason
    statuses = diff.frame.set_index("tensor")["status"].to_dict()
    assert statuses == {"m.weight": "unreadable", "norm.weight": "identical"}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"format": "convrot_w4a4"}, "ComfyUI's format convrot_w4a4 is not read here"),
        ({"format": "int8_tensorwise", "convrot": True}, "rotated before it"),
        ({"format": "float8_e4m3fn", "params": {"convrot": True}}, "rotated before it"),
        ({}, "ComfyUI's format None"),
    ],
)
def test_comfy_s_formats_that_are_not_read_are_named(
    told: dict[str, Any], said: str, tmp_path: Path
) -> None:
    from tests.formats.few_bits_layouts import described, float8

    held = described(float8()(original()), **told)
    assert said in refused(held.parts, tmp_path / "q")


def test_mlx_is_read_only_where_its_sizes_are_told(tmp_path: Path) -> None:
    layout = LAYOUTS["MLX in 4 bits"](original())
    assert "bits of config's quantization is None" in refused(layout.parts, tmp_path / "a")
    told = {"mode": "ternary", "bits": 4, "group_size": 32}
    assert "MLX's mode ternary" in refused(layout.parts, tmp_path / "b", quantization=told)


@pytest.mark.parametrize("kind", ["Int4Tensor", "Int4TilePackedTo4dTensor", ""])
def test_torchao_s_layouts_of_kernels_are_named(kind: str, tmp_path: Path) -> None:
    layout = LAYOUTS["torchao, Int8Tensor"](original())
    metadata = {"m.weight": json.dumps({"_type": kind})}
    held = Layout(layout.parts, layout.values, "", 0, {}, metadata)
    tensor = open_checkpoint(write(held, tmp_path / "q")).tensors["m.weight"]
    assert isinstance(tensor, Broken) and "torchao's" in tensor.reason
    assert (kind or "tensor without metadata") in tensor.reason
