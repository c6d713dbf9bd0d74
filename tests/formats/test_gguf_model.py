"""Whole models in GGUF, written and quantised by the `gguf` package."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import ftdiff
from ftdiff.errors import BadFile
from ftdiff.formats import gguf_blocks
from ftdiff.tensors import Array, stored_as

TYPES = sorted(kind for kind in gguf_blocks.sizes() if kind not in (0, 1, 30))
HEADS = {"head_count": 4, "head_count_kv": 2}


def write(
    path: Path, tensors: Mapping[str, Array], arch: str = "llama", kind: int | None = None
) -> Path:
    writer = gguf.GGUFWriter(path, arch)
    for name, count in HEADS.items():
        writer.add_uint32(f"{arch}.attention.{name}", count)
    writer.add_block_count(1)
    for name, tensor in tensors.items():
        if kind is None or tensor.ndim < 2:
            writer.add_tensor(name, np.ascontiguousarray(tensor))
        else:
            quantised = gguf.GGMLQuantizationType(kind)
            raw = gguf.quants.quantize(np.ascontiguousarray(tensor), quantised)
            writer.add_tensor(name, raw, raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def interleaved(rows: Array, heads: int) -> Array:
    """Reorder rows as llama.cpp's converter does those of q and k."""
    return rows.reshape(heads, 2, len(rows) // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: gguf_blocks.sizes()[kind][0])
def test_every_type_is_the_package_s_own_values(tmp_path: Path, kind: int) -> None:
    name, entries, size = gguf_blocks.sizes()[kind]
    rows, blocks = 6, 3
    raw = np.random.default_rng(kind).integers(0, 60, (rows, blocks * size), dtype=np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "qwen2")
    writer.add_tensor("x.weight", raw, raw_dtype=gguf.GGMLQuantizationType(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tensor = ftdiff.open_checkpoint(tmp_path / "m.gguf").tensors["x.weight"]
    (theirs,) = gguf.GGUFReader(tmp_path / "m.gguf").tensors
    with np.errstate(all="ignore"):
        wanted = gguf.quants.dequantize(theirs.data, theirs.tensor_type)
        assert stored_as(tensor) == name and tensor.shape == (rows, blocks * entries)
        np.testing.assert_array_equal(tensor.read(), wanted)
        np.testing.assert_array_equal(tensor.read(slice(1, 5, 2)), wanted[1:5:2])
        for start, stop in ((0, 1), (5, entries + 3), (entries, 2 * entries), (7, 7)):
            with tensor.window(start, stop) as lent:
                np.testing.assert_array_equal(lent, wanted.reshape(-1)[start:stop])


def test_rows_of_q_and_k_are_put_back(tmp_path: Path) -> None:
    model = {f"blk.0.attn_{leaf}.weight": random(16, 8) for leaf in "qkv"}
    stored = {
        name: interleaved(W, {"q": 4, "k": 2}[leaf]) if (leaf := name[11]) in "qk" else W
        for name, W in model.items()
    }
    opened = ftdiff.open_checkpoint(write(tmp_path / "m.gguf", stored))
    for name, W in model.items():
        tensor = opened.tensors[name]
        np.testing.assert_array_equal(tensor.read(), W)
        np.testing.assert_array_equal(tensor.read(slice(3, 11, 3)), W[3:11:3])
        with tensor.window(9, 61) as lent:
            np.testing.assert_array_equal(lent, W.reshape(-1)[9:61])
    assert "row-order-restored" in {note.record()["code"] for note in opened.notes}  # type: ignore[attr-defined]
    assert opened.config["num_attention_heads"] == 4
    unknown = ftdiff.open_checkpoint(write(tmp_path / "u.gguf", stored, "grok"))
    assert "row-order-unknown" in {note.record()["code"] for note in unknown.notes}  # type: ignore[attr-defined]
    kept = ftdiff.open_checkpoint(write(tmp_path / "k.gguf", model, "qwen2"))
    assert not kept.notes


def test_norms_and_turned_matrices_are_the_model_s(tmp_path: Path) -> None:
    norm, W = random(8), random(6, 8)
    gemma = write(tmp_path / "g.gguf", {"blk.0.attn_norm.weight": norm + 1}, "gemma2")
    (held,) = ftdiff.open_checkpoint(gemma).tensors.values()
    np.testing.assert_allclose(held.read(), norm, atol=1e-7)
    gpt2 = write(tmp_path / "2.gguf", {"blk.0.ffn_up.weight": W.T}, "gpt2")
    (turned,) = ftdiff.open_checkpoint(gpt2).tensors.values()
    np.testing.assert_array_equal(turned.read(slice(1, 4)), W[1:4])
    with turned.window(3, 20) as lent:
        np.testing.assert_array_equal(lent, W.reshape(-1)[3:20])


def test_a_quantised_file_is_compared_within_its_rounding(tmp_path: Path) -> None:
    model = {"token_embd.weight": random(32, 64), "blk.0.ffn_up.weight": random(96, 64, seed=1)}
    whole = write(tmp_path / "f32.gguf", {**model, "rope_freqs.weight": random(8)})
    diff = ftdiff.compare(whole, write(tmp_path / "q8.gguf", model, kind=8))
    assert diff.overall["relative_norm"] == pytest.approx(0.005, rel=0.5)
    assert "computed-tensors" in {reason["code"] for reason in diff.about["reasons"]}
    assert set(diff.frame["tuned_dtype"]) == {"Q8_0"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"general.type": "mmproj"}, "of the type 'mmproj'")],
)
def test_what_is_no_model_is_named(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "clip")
    for key, value in fields.items():
        writer.add_string(key, value)
    writer.add_tensor("x", random(2))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BadFile, match=words):
        ftdiff.open_checkpoint(tmp_path / "m.gguf")


def test_a_list_that_no_vocabulary_is_as_long_as_is_refused(tmp_path: Path) -> None:
    count = (1 << 22) + 1
    raw = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a"
    raw += struct.pack("<IIQ", 9, 0, count) + bytes(count)
    (tmp_path / "m.gguf").write_bytes(raw)
    with pytest.raises(BadFile, match=r"m\.gguf: a list of 4,194,305 values"):
        ftdiff.open_checkpoint(tmp_path / "m.gguf")
