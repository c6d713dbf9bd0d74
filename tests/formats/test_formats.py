from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ftdiff.errors import BadCall, BadFile
from ftdiff.formats import open_checkpoint
from ftdiff.formats.memory import DeviceTensor
from ftdiff.formats.note import Note
from tests.conftest import llama, write_model

_ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def _raw(path: Path, header: Any, body: bytes = b"\0" * 24, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


@pytest.mark.parametrize("shards", [1, 3])
def test_tensors_read_equal_the_writers_for_any_sharding(tmp_path: Path, shards: int) -> None:
    state = llama()
    opened = open_checkpoint(write_model(tmp_path, state, shards=shards, config={"a": 1}))
    assert set(opened.tensors) == set(state)
    assert opened.config == {"a": 1}
    for name, tensor in opened.tensors.items():
        assert tensor.shape == tuple(state[name].shape)
        assert torch.equal(torch.from_numpy(tensor.read().astype(np.float32)), state[name].float())


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.bfloat16, torch.float16, torch.float32, torch.float64),
        *(torch.float8_e4m3fn, torch.float8_e5m2),
        *(torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool),
    ],
)
def test_every_dtype_is_read_as_stored(tmp_path: Path, dtype: torch.dtype) -> None:
    values = torch.arange(12).reshape(3, 4).to(dtype)
    save_file(
        {"w": values, "scalar": values[1, 1].clone(), "none": values[:0].clone()},
        tmp_path / "x.safetensors",
    )
    tensors = open_checkpoint(tmp_path / "x.safetensors").tensors
    assert (tensors["w"].read().astype(np.float64) == values.double().numpy()).all()
    assert (tensors["w"].read(slice(1, 2)).astype(np.float64) == values[1:2].double().numpy()).all()
    assert tensors["scalar"].read().shape == ()
    assert tensors["none"].read().shape == (0, 4)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"not json", "not valid JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"w": 1, "w": 2}', "occurs twice"),
        (b"[" * 100_000, "not valid JSON"),
        ({"w": 3}, "not an object"),
        ({"w": {**_ENTRY, "shape": [2, -3]}}, "lacks a valid shape"),
        ({"w": {**_ENTRY, "shape": [2.0, 3]}}, "lacks a valid shape"),
        ({"w": {**_ENTRY, "shape": [True, 6]}}, "lacks a valid shape"),
        ({"w": {**_ENTRY, "shape": [1 << 62, 1 << 62]}}, "takes"),
        ({"w": {**_ENTRY, "data_offsets": [24, 0]}}, "takes 24 bytes"),
        ({"w": {**_ENTRY, "data_offsets": [4, 28]}}, "leave a gap"),
        ({"w": _ENTRY, "v": _ENTRY}, "overlap"),
        ({"w": {**_ENTRY, "shape": [4, 3], "data_offsets": [0, 48]}}, "truncated"),
        ({"w": {**_ENTRY, "shape": [1, 3], "data_offsets": [0, 12]}}, "belong to none"),
        ({"w": {**_ENTRY, "dtype": "F12"}, "x": {**_ENTRY, "dtype": 7}}, "lacks a valid"),
        ({"__metadata__": {"a": 1}, "w": _ENTRY}, "must map strings"),
        ({"__metadata__": "a", "w": _ENTRY}, "must map strings"),
    ],
)
def test_a_lying_header_is_one_line_that_names_the_file(
    tmp_path: Path, header: Any, said: str
) -> None:
    path = _raw(tmp_path / "bad.safetensors", header)
    with pytest.raises(BadFile, match=said) as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_metadata_may_be_null_as_mlx_writes_it(tmp_path: Path) -> None:
    path = _raw(tmp_path / "mlx.safetensors", {"__metadata__": None, "w": _ENTRY})
    opened = open_checkpoint(path)
    assert (list(opened.tensors), opened.metadata) == (["w"], {})


@pytest.mark.parametrize("length", [1 << 63, 1 << 40, 200_000_000, 5000])
def test_a_header_longer_than_the_file_is_refused_before_it_is_read(
    tmp_path: Path, length: int
) -> None:
    path = _raw(tmp_path / "bad.safetensors", {"w": _ENTRY}, length=length)
    with pytest.raises(BadFile, match="the header says"):
        open_checkpoint(path)


@pytest.mark.parametrize("size", [0, 3, 8, 9])
def test_a_file_too_small_for_a_header_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(b"\0" * size)
    with pytest.raises(BadFile):
        open_checkpoint(path)


def test_an_unknown_dtype_is_listed_and_unreadable_alone(tmp_path: Path) -> None:
    header = {"w": _ENTRY, "odd": {"dtype": "F4", "shape": [8], "data_offsets": [24, 28]}}
    tensors = open_checkpoint(_raw(tmp_path / "x.safetensors", header, b"\0" * 28)).tensors
    assert tensors["w"].read().shape == (2, 3)
    with pytest.raises(BadFile, match="F4 cannot be read"):
        tensors["odd"].read()


def test_a_file_that_changed_since_it_was_opened_is_not_mapped(tmp_path: Path) -> None:
    path = write_model(tmp_path, llama()) / "model.safetensors"
    tensor = open_checkpoint(path).tensors["model.norm.weight"]
    path.write_bytes(path.read_bytes()[:-64])
    with pytest.raises(BadFile, match="cut short since it was opened"):
        tensor.read()


def _break_missing(folder: Path) -> None:
    (folder / "model-00002-of-00003.safetensors").unlink()


def _break_stale(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    text = json.loads(index.read_text())
    text["weight_map"]["ghost"] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(text))


def _break_outside(folder: Path) -> None:
    (folder.parent / "outside.safetensors").write_bytes(
        (folder / "model-00001-of-00003.safetensors").read_bytes()
    )
    index = folder / "model.safetensors.index.json"
    text = json.loads(index.read_text())
    text["weight_map"]["lm_head.weight"] = "../outside.safetensors"
    index.write_text(json.dumps(text))


def _break_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model-00001-of-00003.safetensors").unlink()


def _break_truncate(folder: Path) -> None:
    shard = folder / "model-00003-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_break_missing, "model-00002-of-00003.safetensors: No such file"),
        (_break_stale, "ghost should be in model-00001-of-00003.safetensors"),
        (_break_outside, "'../outside.safetensors' is not the name of a file beside it"),
        (_break_index, "model-00001-of-00003.safetensors is missing"),
        (_break_truncate, "truncated"),
    ],
)
def test_damaged_shards_are_named(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    folder = write_model(tmp_path / "m", llama(), shards=3)
    damage(folder)
    with pytest.raises(BadFile, match=said):
        open_checkpoint(folder)


def test_shards_without_an_index_are_one_model(tmp_path: Path) -> None:
    folder = write_model(tmp_path, llama(), shards=3)
    (folder / "model.safetensors.index.json").unlink()
    assert set(open_checkpoint(folder).tensors) == set(llama())


def test_several_models_in_a_folder_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file({"w": torch.zeros(2)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(BadFile, match="name one"):
        open_checkpoint(tmp_path)


def test_a_single_file_comes_before_an_index_and_says_so(tmp_path: Path) -> None:
    write_model(tmp_path, llama(), shards=2)
    write_model(tmp_path, {"only": torch.zeros(2)})
    opened = open_checkpoint(tmp_path)
    assert set(opened.tensors) == {"only"}
    assert "ignored" in opened.notes[0]
    assert [note.code for note in opened.notes if isinstance(note, Note)] == ["index-ignored"]


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib"])
def test_a_pickle_is_refused_with_the_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04N.")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(BadFile, match="is a pickle, which can run code"):
            open_checkpoint(path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such file"):
        open_checkpoint(tmp_path / "nothing")
    with pytest.raises(BadFile, match="no weights here"):
        open_checkpoint(tmp_path)


def test_a_configuration_that_is_not_json_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, llama())
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadFile, match=r"config\.json: not valid JSON"):
        open_checkpoint(tmp_path)


def test_torch_modules_and_state_dicts_are_opened_as_they_are() -> None:
    module = torch.nn.Linear(3, 2).to(torch.bfloat16)
    for source in (module, module.state_dict()):
        tensor = open_checkpoint(source).tensors["weight"]
        assert tensor.dtype == "BF16"
        assert tensor.read().dtype == ml_dtypes.bfloat16
        found = tensor.read().astype(np.float32)
        assert torch.equal(torch.from_numpy(found), module.weight.detach().float())
    with pytest.raises(BadCall, match="cannot open a int"):
        open_checkpoint(3)
    with pytest.raises(BadCall, match="expected a tensor"):
        open_checkpoint({"a": "b"})


def test_what_lies_on_another_device_is_brought_over_when_it_is_read() -> None:
    W = torch.arange(12, dtype=torch.float32).reshape(3, 4).T.to(torch.bfloat16)
    tensor = DeviceTensor(W)
    assert (tensor.shape, tensor.dtype, tensor.storage) == ((4, 3), "BF16", None)
    assert tensor.read(slice(1, 3)).astype(float).tolist() == W[1:3].tolist()
    with tensor.window(2, 7) as lent:
        assert lent.astype(float).tolist() == W.reshape(-1)[2:7].tolist()
    assert DeviceTensor(torch.tensor(2.5)).read() == np.float32(2.5)
    there = open_checkpoint(torch.nn.Linear(3, 2, device="meta"))  # which has no values to copy
    assert {*map(type, there.tensors.values())} == {DeviceTensor}
    assert (there.tensors["weight"].shape, there.tensors["bias"].shape) == ((2, 3), (2,))
