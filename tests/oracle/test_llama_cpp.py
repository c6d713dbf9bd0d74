"""GGUF adapters written by the `gguf` package, as llama.cpp's converter lays them out."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftdiff.adapters import open_tuned
from ftdiff.comparison.engine import compare
from ftdiff.errors import BadAdapter, BadFile, MissingExtra
from ftdiff.formats.gguf import read_header
from ftdiff.formats.note import Note
from ftdiff.formats.place import here
from ftdiff.tensors import Array
from tests.adapters.files import balanced, base, change, close, random

A, B = random(2, 6), random(16, 2)
LLAMA = {"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2}


def _write(path: Path, tensors: dict[str, Array], arch: str = "llama", **fields: Any) -> Path:
    writer = gguf.GGUFWriter(path, arch)
    told = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 4.0, **fields}
    for key, value in told.items():
        if isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        elif value is not None:
            writer.add_string(key, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _pair(name: str, a: Array = A, b: Array = B) -> dict[str, Array]:
    return {f"{name}.weight.lora_a": a, f"{name}.weight.lora_b": b}


def _interleaved(rows: Array, heads: int) -> Array:
    """Reorder rows as llama.cpp's converter does those of q and k."""
    return rows.reshape(heads, 2, len(rows) // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_the_header_is_what_the_package_wrote(tmp_path: Path, dtype: str) -> None:
    tensors = {"x": random(3, 5).astype(dtype), "y": random(2, 3, 4).astype(dtype)}
    path = _write(tmp_path / "a.gguf", tensors, tokens=["a", "b"], numbers=[1.5, 2.5])
    header = read_header(here(path))
    theirs = gguf.GGUFReader(path)
    assert header.fields["tokens"] == ["a", "b"]
    assert header.fields["numbers"] == [1.5, 2.5]
    assert header.fields["general.architecture"] == "llama"
    assert [tensor.name for tensor in theirs.tensors] == list(header.tensors)
    first = min(tensor.data_offset for tensor in theirs.tensors)
    headers = {sha256(path.read_bytes()[:end]).hexdigest() for end in range(first - 32, first + 1)}
    assert header.record["header_sha256"] in headers  # it ends before the padding, if there is some
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(header.tensors[name].read(), tensor)


@pytest.mark.parametrize(
    ("theirs", "ours", "heads"),
    [
        ("blk.3.attn_q", "model.layers.3.self_attn.q_proj", 4),
        ("blk.3.attn_k", "model.layers.3.self_attn.k_proj", 2),
        ("blk.3.attn_v", "model.layers.3.self_attn.v_proj", None),
        ("blk.3.ffn_gate", "model.layers.3.mlp.gate_proj", None),
        ("output", "lm_head", None),
    ],
)
def test_names_and_rows_are_those_of_hugging_face(
    tmp_path: Path, theirs: str, ours: str, heads: int | None
) -> None:
    opened = base(LLAMA, **{f"{ours}.weight".replace(".", "__"): (16, 6)})
    b = _interleaved(B, heads) if heads else B
    tuned = open_tuned(_write(tmp_path / "a.gguf", _pair(theirs, b=b)), opened)
    assert (list(tuned.recipes), dict(tuned.unmatched)) == ([f"{ours}.weight"], {})
    assert close(change(tuned, f"{ours}.weight", opened), 2 * B @ A)
    assert tuned.scalings[f"{ours}.weight"] == "α/r = 4/2, adapter.lora.alpha in the file"
    codes = [note.code for note in tuned.notes if isinstance(note, Note)]
    assert codes == ["row-order-restored"] * bool(heads)


@pytest.mark.parametrize(
    ("arch", "config", "said"),
    [
        ("qwen2", {"num_attention_heads": 4}, False),
        ("llama", {}, True),
        ("plamo", {"num_attention_heads": 4}, True),
    ],
)
def test_an_order_of_rows_that_is_not_known_is_said(
    tmp_path: Path, arch: str, config: dict[str, Any], said: bool
) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    opened = base(config, **{name.replace(".", "__"): (16, 6)})
    tuned = open_tuned(_write(tmp_path / "a.gguf", _pair("blk.0.attn_q"), arch), opened)
    assert close(change(tuned, name, opened), 2 * B @ A)
    codes = [note.code for note in tuned.notes if isinstance(note, Note)]
    assert codes == ["row-order-unknown"] * said


def test_a_token_embedding_has_its_first_factor_transposed(tmp_path: Path) -> None:
    a, b = random(20, 2), random(6, 2)  # vocabulary × r and width × r
    opened = base(model__embed_tokens__weight=(20, 6))
    tuned = open_tuned(_write(tmp_path / "a.gguf", _pair("token_embd", a, b)), opened)
    assert close(change(tuned, "model.embed_tokens.weight", opened), 2 * a @ b.T)


def _experts() -> tuple[dict[str, Array], Array]:
    a, b = random(3, 2, 6), random(3, 8, 2)
    return _pair("blk.0.ffn_gate_exps", a, b), 2 * (b.astype("f8") @ a)


def test_stacked_experts_are_the_tensors_of_the_base(tmp_path: Path) -> None:
    tensors, wanted = _experts()
    names = [f"model.layers.0.mlp.experts.{e}.gate_proj.weight" for e in range(3)]
    opened = base(**{name.replace(".", "__"): (8, 6) for name in names})
    tuned = open_tuned(_write(tmp_path / "a.gguf", tensors, "qwen2moe"), opened)
    assert sorted(tuned.recipes) == names
    for name, dW in zip(names, wanted, strict=True):
        assert close(change(tuned, name, opened), dW)


def test_without_a_base_names_are_llama_cpps(tmp_path: Path) -> None:
    tensors, wanted = _experts()
    path = _write(tmp_path / "a.gguf", {**tensors, **_pair("blk.0.attn_q")})
    assert not open_tuned(path).notes  # no rows to compare with, no order to speak of
    frame = compare(None, path).frame.set_index("tensor")
    sums = {name: float(row) for name, row in frame["delta_sq"].items()}
    assert sums == pytest.approx(
        {
            "blk.0.ffn_gate_exps.weight": np.square(wanted).sum(),
            "blk.0.attn_q.weight": np.square(2 * B @ A).sum(),
        }
    )


def test_half_precision_and_alpha_zero(tmp_path: Path) -> None:
    tensors = _pair("blk.0.attn_v", A.astype("f2"), B.astype("f2"))
    tuned = open_tuned(_write(tmp_path / "a.gguf", tensors, **{"adapter.lora.alpha": 0.0}))
    wanted = B.astype("f2").astype("f8") @ A.astype("f2").astype("f8")
    assert close(change(tuned, "blk.0.attn_v.weight"), wanted)


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    packed = gguf.quantize(random(16, 32), gguf.GGMLQuantizationType.Q8_0)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    writer.add_array("adapter.alora.invocation_tokens", [1, 2])
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("blk.0.attn_v.weight.lora_a", packed, raw_dtype=kind)
    for name, tensor in {
        "blk.0.attn_v.weight.lora_b": random(8, 16),
        "blk.0.attn_q.weight.lora_a": A,
        "blk.0.attn_k.weight.lora_a": A,
        "blk.0.attn_k.weight.lora_b": random(16, 3),
        "blk.0.attn_norm.weight": random(6),
        "blk.0.strange": random(6),
    }.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    diff = compare(None, tmp_path / "a.gguf")
    balanced(open_tuned(tmp_path / "a.gguf"))
    assert "packed in blocks" in diff.about["unreadable"]["blk.0.attn_v.weight"]
    assert "but no lora_B" in diff.about["unreadable"]["blk.0.attn_q.weight"]
    assert "do not multiply" in diff.about["unreadable"]["blk.0.attn_k.weight"]
    assert diff.about["unmatched"] == {
        "blk.0.attn_norm.weight": "a norm in an adapter, which llama.cpp ignores",
        "blk.0.strange": "not a part of any adapter that is known",
    }
    assert any("aLoRA" in note for note in diff.about["notes"])
    assert {"code": "conditional"} in diff.about["reasons"]


def test_a_tensor_that_the_base_lacks_is_named(tmp_path: Path) -> None:
    opened = base(LLAMA, model__layers__0__self_attn__q_proj__weight=(16, 6))
    tuned = open_tuned(_write(tmp_path / "a.gguf", _pair("blk.7.attn_q")), opened)
    assert "leads to no tensor" in tuned.lost["blk.7.attn_q.weight"]
    balanced(tuned)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"adapter.type": "dora"}, "of the type 'dora'; only LoRA is read"),
        ({"adapter.lora.alpha": None}, r"no adapter\.lora\.alpha"),
        ({"adapter.lora.alpha": float("inf")}, r"no adapter\.lora\.alpha"),
    ],
)
def test_another_gguf_file_is_refused(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadAdapter, match=reason):
        open_tuned(_write(tmp_path / "a.gguf", _pair("blk.0.attn_q"), **fields))


def test_an_unknown_architecture_is_refused_where_names_are_needed(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.gguf", _pair("blk.0.attn_q"), "newest")
    assert open_tuned(path).recipes
    with pytest.raises(BadAdapter, match="'newest' is not known"):
        open_tuned(path, base(x=(2, 2)))


def test_the_package_is_only_needed_for_a_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write(tmp_path / "a.gguf", _pair("blk.0.attn_q"))
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    assert open_tuned(path).recipes
    with pytest.raises(MissingExtra, match=r"pip install 'ftdiff\[gguf\]'"):
        open_tuned(path, base(x=(2, 2)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "a.gguf"
    return _write(path, _pair("blk.0.attn_q"), tokens=["a", "b"]).read_bytes()


@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, min(len(damaged), 600) - 1))] = data.draw(
                st.integers(0, 255)
            )
    path = tmp_path_factory.mktemp("damaged") / "a.gguf"
    path.write_bytes(damaged)
    try:
        header = read_header(here(path))
    except BadFile as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:
        assert header.tensors is not None


def test_counts_beyond_the_file_are_refused_at_once(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "a.gguf"
    for at in (8, 16):  # the counts of tensors and of pairs
        path.write_bytes(whole[:at] + (1 << 62).to_bytes(8, "little") + whole[at + 8 :])
        with pytest.raises(BadFile, match="counts more than it holds"):
            read_header(here(path))
    path.write_bytes(whole[:-1])
    with pytest.raises(BadFile, match="ends after the file does"):
        read_header(here(path))
