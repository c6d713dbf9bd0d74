"""What is stored in few bits is read as its own library dequantises it, block by block."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import ftdiff
from ftdiff.formats import Quantised, open_checkpoint
from ftdiff.formats.quantised import Broken
from ftdiff.tensors import LazyTensor, is_quantised, stored_as
from tests.analyses.planted import State, weights
from tests.conftest import FIXTURES, llama, nudge
from tests.formats.quantised_models import (
    BASE,
    Packer,
    awq,
    eight_bits,
    float8_blocks,
    float8_rows,
    float8_whole,
    four_bits,
    gptq,
    quantise,
)

Q = "model.layers.3.self_attn.q_proj.weight"
LORA = FIXTURES / "lora"
PACKERS: dict[str, tuple[Packer, str, dict[str, Any]]] = {
    "nf4 nested": (four_bits("nf4"), "NF4", {}),
    "nf4 plain": (four_bits("nf4", nested=False), "NF4", {}),
    "nf4 in float16": (four_bits("nf4", dtype=torch.float16), "NF4", {}),
    "nf4 in float32": (four_bits("nf4", dtype=torch.float32, blocksize=128), "NF4", {}),
    "fp4 nested": (four_bits("fp4", blocksize=256), "FP4", {}),
    "fp4 plain": (four_bits("fp4", nested=False), "FP4", {}),
    "int8": (eight_bits, "INT8", {"dtype": "float32"}),
    "int8 in bfloat16": (eight_bits, "INT8", {}),
    "float8 in blocks": (
        float8_blocks(16),
        "F8_E4M3",
        {"quantization_config": {"weight_block_size": [16, 16]}, "dtype": "float32"},
    ),
    "float8 in blocks of 128": (float8_blocks(128), "F8_E4M3", {"dtype": "float32"}),
    "float8 with exponents": (
        float8_blocks(16, exponents=True),
        "F8_E4M3",
        {"quantization_config": {"weight_block_size": [16, 16]}},
    ),
    "float8 by row": (float8_rows, "F8_E4M3", {"dtype": "float32"}),
    "float8 whole": (float8_whole, "F8_E4M3", {"dtype": "float32"}),
    "gptq": (gptq(), "INT4", {"quantization_config": {"bits": 4}}),
    "gptq by activation order": (gptq(shuffled=True), "INT4", {"quantization_config": {"bits": 4}}),
    "gptq version 2": (
        gptq(less=0),
        "INT4",
        {"quantization_config": {"bits": 4, "checkpoint_format": "gptq_v2"}},
    ),
    "gptq in 8 bits": (gptq(bits=8), "INT8", {"quantization_config": {"bits": 8}}),
    "awq": (awq, "INT4", {"quantization_config": {"bits": 4, "quant_method": "awq"}}),
}
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@pytest.fixture(params=sorted(PACKERS))
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any], str]:
    packer, scheme, config = PACKERS[request.param]
    base = source(config)
    folder, values = quantise(tmp_path / "q", packer, only="q_proj.weight", base=base, **config)
    return folder, values, scheme


def source(config: dict[str, Any]) -> State:
    """Return what is packed: words hold 8 numbers, so that not every shape fits them."""
    bits = "bits" in config.get("quantization_config", {})
    return llama(layers=4, hidden=64) if bits else weights(BASE)


def flat(tensor: LazyTensor, start: int, stop: int) -> np.ndarray[Any, Any]:
    with tensor.window(start, stop) as lent:
        return lent.astype(np.float64)


# what is read


def test_values_are_to_the_bit_those_of_the_scheme_s_own_arithmetic(
    packed: tuple[Path, dict[str, Any], str],
) -> None:
    folder, values, scheme = packed
    opened = open_checkpoint(folder)
    assert set(opened.tensors) == set(values)
    tensor = opened.tensors[Q]
    assert isinstance(tensor, Quantised) and is_quantised(tensor)
    assert (stored_as(tensor), tensor.shape) == (scheme, tuple(values[Q].shape))
    wanted = values[Q].to(DTYPES[tensor.dtype]).double().numpy()
    np.testing.assert_array_equal(tensor.read().astype(np.float64), wanted)
    count = sum(name.endswith("q_proj.weight") for name in values)
    assert f"{count} tensors are stored as {scheme}" in opened.notes[-1]
    assert opened.notes[-1].endswith(f"read dequantised to {tensor.dtype}")


def test_any_window_and_any_rows_are_parts_of_the_whole(
    packed: tuple[Path, dict[str, Any], str],
) -> None:
    tensor = open_checkpoint(packed[0]).tensors[Q]
    whole = tensor.read().astype(np.float64)
    draw = np.random.default_rng(4)
    for _ in range(40):
        start, stop = sorted(draw.integers(0, whole.size + 1, 2).tolist())
        np.testing.assert_array_equal(flat(tensor, start, stop), whole.reshape(-1)[start:stop])
    for rows in (slice(0, 0), slice(3, 9), slice(30, None), slice(None, None, 5)):
        np.testing.assert_array_equal(tensor.read(rows).astype(np.float64), whole[rows])


def test_every_value_lies_in_its_own_cell_and_so_does_what_was_quantised(
    packed: tuple[Path, dict[str, Any], str],
) -> None:
    tensor = open_checkpoint(packed[0]).tensors[Q]
    assert isinstance(tensor, Quantised)
    low, high = tensor.cells(0, tensor.shape[0] * tensor.shape[1])
    values = flat(tensor.held("F32"), 0, low.size)
    assert ((low <= values) & (values <= high)).all()
    before = (
        (llama(layers=4, hidden=64) if tensor.shape == (64, 64) else weights(BASE))[Q]
        .double()
        .numpy()
        .reshape(-1)
    )
    assert ((low <= before) & (before <= high)).mean() > 0.98


def test_a_quantised_tensor_pickles_small(packed: tuple[Path, dict[str, Any], str]) -> None:
    tensor = open_checkpoint(packed[0]).tensors[Q]
    copy = pickle.loads(pickle.dumps(tensor))
    assert copy == tensor and hash(copy) == hash(tensor)
    assert len(pickle.dumps(tensor)) < 1500


def test_reading_a_window_takes_no_memory_for_the_rest(tmp_path: Path) -> None:
    W = torch.randn(2048, 1024, generator=torch.Generator().manual_seed(1))
    parts, _ = four_bits("nf4")("w", W)
    save_file(parts, tmp_path / "model.safetensors")
    tensor = open_checkpoint(tmp_path).tensors["w"]
    flat(tensor, 0, 64)
    tracemalloc.start()
    flat(tensor, 1_000_000, 1_000_000 + (1 << 14))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 20


def test_a_model_in_memory_is_dequantised_too() -> None:
    parts, values = four_bits("nf4")(Q, weights(BASE)[Q])
    tensor = open_checkpoint(parts).tensors[Q]
    np.testing.assert_array_equal(tensor.read().astype(np.float64), values.double().numpy())


# what is compared


def test_a_quantised_base_is_compared_as_its_dequantised_values_are(tmp_path: Path) -> None:
    folder, values = quantise(tmp_path / "q", four_bits("nf4"))
    for tuned in (LORA, FIXTURES / "full"):
        found = ftdiff.compare(folder, tuned).frame.set_index("tensor").sort_index()
        wanted = ftdiff.compare(values, tuned).frame.set_index("tensor").sort_index()
        assert list(found["status"]) == list(wanted["status"])
        for column in ("base_sq", "tuned_sq", "delta_sq", "inner", "unequal"):
            assert found[column].equals(wanted[column]), column
        assert found["base_dtype"][Q] == "NF4"


def test_a_change_across_few_bits_has_the_floor_of_its_cells_and_not_of_another_dtype(
    tmp_path: Path,
) -> None:
    folder, _ = quantise(tmp_path / "q", four_bits("nf4"))
    frame = ftdiff.compare(folder, FIXTURES / "full").frame.set_index("tensor").sort_index()
    targets = frame.index.str.endswith("_proj.weight")
    assert frame.loc[targets, "precision_floor"].between(0.08, 0.11).all()
    assert frame.loc[targets, "snr"].isna().all()  # nothing tells whether it is in the change
    assert frame.loc[~targets, "precision_floor"].lt(0.01).all()
    assert frame["note"][Q].startswith("stored as NF4: its own rounding may be all of the change")
    merged_into = ftdiff.compare(folder, LORA).frame.set_index("tensor").sort_index()
    assert merged_into["precision_floor"][Q] == pytest.approx(0.0017, rel=0.1)  # of a merge in BF16


def test_findings_say_that_few_bits_may_be_all_of_a_change(tmp_path: Path) -> None:
    folder, _ = quantise(tmp_path / "q", four_bits("nf4"))
    said = [one.message for one in ftdiff.findings(ftdiff.compare(folder, BASE))]
    told = "196 changes of 196 may be no more than the rounding of a side that is stored quantised"
    assert any(message.startswith(told) for message in said)
    saved = ftdiff.compare(folder, BASE)
    (told_,) = (one for one in ftdiff.findings(saved) if one.evidence.get("quantised"))
    before = {name: value for name, value in saved.about.items() if name != "reasons"}
    frame = saved.frame.drop(columns="reason").assign(note=None)
    older = ftdiff.findings(ftdiff.Diff(frame, before))
    assert told_ in older  # what is stored as a scheme is told from the columns
    unmerged = [one.message for one in ftdiff.findings(ftdiff.compare(folder, LORA))]
    assert not any("stored quantised" in message for message in unmerged)


def test_a_diff_says_that_its_base_was_dequantised(tmp_path: Path) -> None:
    folder, _ = quantise(tmp_path / "q", four_bits("nf4"))
    about = ftdiff.compare(folder, LORA).about
    notes = about["notes"]
    assert {"code": "dequantised", "tensors": 196, "scheme": "NF4"} in about["reasons"]
    said = "196 tensors are stored as NF4 (bitsandbytes), read dequantised to BF16"
    assert [note for note in notes if note.endswith(said)]


def test_the_same_codes_are_identical_and_other_scales_are_not(tmp_path: Path) -> None:
    folder, _ = quantise(tmp_path / "q", four_bits("nf4"))
    again, _ = quantise(tmp_path / "again", four_bits("nf4"))
    assert set(ftdiff.compare(folder, again).frame["status"]) == {"identical"}
    state = load_file(again / "model.safetensors")
    state[f"{Q}.nested_absmax"] *= 2
    save_file(state, again / "model.safetensors")
    frame = ftdiff.compare(folder, again).frame
    assert list(frame[frame["status"] == "changed"]["tensor"]) == [Q]


def test_rows_of_a_quantised_base_have_no_floor_either(tmp_path: Path) -> None:
    from ftdiff.analyses import parts

    folder, _ = quantise(tmp_path / "q", four_bits("nf4"))
    frame = parts.rows(folder, FIXTURES / "full", Q).frame
    assert len(frame) == 36 and frame["ulp_sq"].isna().all() and frame["delta_sq"].notna().all()


# what is refused


def lying(folder: Path, kind: str, edit: Any) -> Path:
    packer, _, config = PACKERS[kind]
    base = source(config)
    made, _ = quantise(folder, packer, base=base, **config)
    state = load_file(made / "model.safetensors")
    edit(state)
    save_file({k: v.contiguous() for k, v in state.items()}, made / "model.safetensors")
    return made


def described(**said: Any) -> Any:
    key = f"{Q}.quant_state.bitsandbytes__nf4"

    def edit(state: dict[str, torch.Tensor]) -> None:
        told = json.loads(state[key].numpy().tobytes()) | said
        text = json.dumps({k: v for k, v in told.items() if v != "gone"}).encode()
        state[key] = torch.frombuffer(bytearray(text), dtype=torch.uint8)

    return edit


def replaced(name: str, value: Any) -> Any:
    def edit(state: dict[str, torch.Tensor]) -> None:
        state[name] = value(state[name]) if callable(value) else value

    return edit


def garbage(text: bytes) -> Any:
    bytes_ = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    return replaced(f"{Q}.quant_state.bitsandbytes__nf4", bytes_)


SCALE = Q.replace("weight", "weight_scale_inv")
MODULE = Q.removesuffix("weight")
LIES: dict[str, tuple[str, Any, str]] = {
    "absmax too short": ("nf4 nested", replaced(f"{Q}.absmax", lambda t: t[:-1]), "absmax is 20"),
    "absmax missing": ("nf4 nested", lambda s: s.pop(f"{Q}.absmax"), "absmax is missing"),
    "absmax of floats": (
        "nf4 nested", replaced(f"{Q}.absmax", lambda t: t.float()), "absmax is F32, expected U8",
    ),
    "map too short": ("nf4 plain", replaced(f"{Q}.quant_map", lambda t: t[:7]), "quant_map is 7"),
    "nested map": (
        "nf4 nested", replaced(f"{Q}.nested_quant_map", lambda t: t[:16]), "nested_quant_map is 16",
    ),
    "garbage": ("nf4 nested", garbage(b"\xff\x00{"), "not valid JSON"),
    "deep": ("nf4 nested", garbage(b"[" * 60_000), "not valid JSON"),
    "a list": ("nf4 nested", garbage(b"[1]"), "not a JSON object"),
    "no shape": ("nf4 nested", described(shape="gone"), "its shape is None"),
    "another shape": ("nf4 nested", described(shape=[36, 37]), "648 bytes hold no shape [36, 37]"),
    "a negative side": ("nf4 nested", described(shape=[-36, -36]), "a side of its shape is -36"),
    "a huge side": ("nf4 nested", described(shape=[1 << 62, 1 << 62]), "hold no shape"),
    "blocksize 0": ("nf4 nested", described(blocksize=0), "its blocksize is 0"),
    "blocksize −64": ("nf4 nested", described(blocksize=-64), "its blocksize is -64"),
    "blocksize huge": ("nf4 nested", described(blocksize=1 << 80), "its blocksize is 12089258"),
    "blocksize 1.5": ("nf4 nested", described(blocksize=1.5), "its blocksize is 1.5"),
    "larger blocks": ("nf4 nested", described(blocksize=1 << 61), "absmax is 21, expected 1"),
    "no offset": ("nf4 nested", described(nested_offset="gone"), "its nested_offset is None"),
    "offset ∞": ("nf4 nested", described(nested_offset=float("inf")), "nested_offset is inf"),
    "SCB too short": ("int8", replaced(f"{MODULE}SCB", lambda t: t[:5]), "SCB is 5, expected 36"),
    "scales that do not fit": (
        "float8 in blocks", replaced(SCALE, lambda t: t[:1]), "fit no [36, 36] in blocks",
    ),
    "scales of bytes": (
        "float8 in blocks", replaced(SCALE, lambda t: t.to(torch.int64)), "is I64, expected",
    ),
    "group beyond": ("gptq", replaced(f"{MODULE}g_idx", lambda t: t + 9), "group 12 of 4"),
    "group below": ("gptq", replaced(f"{MODULE}g_idx", lambda t: t - 1), "g_idx names group"),
    "no zeros": ("gptq", lambda s: s.pop(f"{MODULE}qzeros"), "qzeros is missing"),
    "fewer words": ("gptq", replaced(f"{MODULE}qweight", lambda t: t[:, :9]), "does not fit"),
    "fewer outputs": ("awq", replaced(f"{MODULE}scales", lambda t: t[:, :8]), "expected 4×1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(LIES))
def test_a_lie_costs_its_tensor_alone_and_is_told_in_one_line(kind: str, tmp_path: Path) -> None:
    packer, edit, said = LIES[kind]
    folder = lying(tmp_path / "q", packer, edit)
    config = PACKERS[packer][2]
    fits = (LORA, FIXTURES / "full") if len(source(config)) == 338 else ()
    for tuned in (*fits, nudge(source(config))):
        diff = ftdiff.compare(folder, tuned)
        assert list(diff.about["unreadable"]) == [Q], kind
        (reason,) = diff.about["unreadable"].values()
        assert said in reason and Q in reason and str(folder) in reason and "\n" not in reason
        counts = diff.frame["status"].value_counts().to_dict()
        assert counts["unreadable"] == 1 and sum(counts.values()) == len(source(config))


def test_the_shell_says_the_lie_and_exits_with_2(tmp_path: Path) -> None:
    folder = lying(tmp_path / "q", "nf4 nested", described(blocksize=0))
    assert isinstance(open_checkpoint(folder).tensors[Q], Broken)
    command = [sys.executable, "-m", "ftdiff", "compare", str(folder), str(LORA)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert found.returncode == 2 and found.stderr.count("\n") == 1
    assert f"{Q}: its blocksize is 0" in found.stderr
