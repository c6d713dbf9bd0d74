"""`torch.save`'s files, against `torch.load`; and files that would run code, or lie."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ftdiff
from ftdiff.errors import BadFile
from ftdiff.formats.torch_zip import records
from tests.conftest import llama, nudge, write_model

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn),
    *(torch.float8_e5m2, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    *(torch.uint16, torch.bool),
]


def save(path: Path, held: Any) -> Path:
    torch.save(held, path)
    return path


def bits(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0, np.uint8)


def same(path: Path) -> None:
    """Hold every tensor against torch's own reading, whole and by rows."""
    opened = ftdiff.open_checkpoint(path).tensors
    for name, wanted in torch.load(path, weights_only=True).items():
        tensor = opened[name]
        assert tensor.shape == tuple(wanted.shape), name
        read = np.ascontiguousarray(tensor.read())
        assert np.array_equal(read.reshape(-1).view(np.uint8), bits(wanted)), name
        if len(tensor.shape) > 1 and tensor.shape[0] > 2:
            rows = np.ascontiguousarray(tensor.read(slice(1, 3)))
            assert np.array_equal(rows.reshape(-1).view(np.uint8), bits(wanted[1:3])), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    values = (torch.arange(24).reshape(4, 6) % 2).to(dtype)
    same(save(tmp_path / "w.pt", {"w": values, "one": values[0, 0].clone(), "none": values[:0]}))


def test_views_parameters_and_ties(tmp_path: Path) -> None:
    W = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    path = save(
        tmp_path / "w.pth",
        {
            "whole": W,
            "turned": W.t(),
            "cut": W[1:5, ::2],
            "cube": torch.randn(3, 4, 5).permute(2, 0, 1),
            "spread": W[0].expand(4, 8),
            "rows": W[2:4],
            "parameter": torch.nn.Parameter(W),
            "buffer": torch.nn.Buffer(W),
        },
    )
    same(path)
    opened = ftdiff.open_checkpoint(path).tensors
    assert opened["whole"].storage == opened["parameter"].storage
    assert opened["whole"].storage != opened["turned"].storage
    with opened["turned"].window(7, 30) as lent:
        assert np.array_equal(lent, W.t().reshape(-1)[7:30].numpy())


def test_a_folder_as_transformers_wrote_them(tmp_path: Path) -> None:
    base = llama()
    tuned = nudge(base)
    wanted = ftdiff.compare(base, tuned).overall["relative_norm"]
    whole = tmp_path / "whole"
    whole.mkdir()
    save(whole / "pytorch_model.bin", tuned)
    save(whole / "optimizer.pt", {"state": {0: {"exp_avg": torch.zeros(3)}}})
    save(whole / "training_args.bin", {"x": torch.zeros(1)})
    held = write_model(tmp_path / "base", base)
    assert ftdiff.compare(held, whole).overall["relative_norm"] == wanted
    shards = tmp_path / "shards"
    shards.mkdir()
    names = sorted(tuned)
    files = [f"pytorch_model-0000{i + 1}-of-00002.bin" for i in range(2)]
    weight_map = {name: files[i % 2] for i, name in enumerate(names)}
    for file in files:
        save(shards / file, {n: tuned[n] for n in names if weight_map[n] == file})
    (shards / "pytorch_model.bin.index.json").write_text(
        '{"weight_map": ' + str(weight_map).replace("'", '"') + "}"
    )
    assert ftdiff.compare(held, shards).overall["relative_norm"] == wanted


@pytest.mark.parametrize("path", [("state_dict",), ("model",), ("ema", "module")])
def test_the_one_dict_of_tensors_is_descended_to(tmp_path: Path, path: tuple[str, ...]) -> None:
    held: Any = llama()
    for word in reversed(path):
        held = {word: held, "epoch": 3, "optimizer": {"state": {0: {"exp": torch.zeros(2)}}}}
    opened = ftdiff.open_checkpoint(save(tmp_path / "run.ckpt", held))
    assert {*opened.tensors} == {*llama()}
    (note,) = opened.notes
    assert note.record() == {"code": "descended", "path": ".".join(path)}  # type: ignore[attr-defined]


def test_what_lies_beside_the_weights_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", {"model": llama(), "ema": llama(), "step": torch.tensor(3)})
    opened = ftdiff.open_checkpoint(path)
    assert {*opened.tensors} == {*llama()}
    beside = opened.notes[1].record()  # type: ignore[attr-defined]
    assert beside == {"code": "beside-the-weights", "others": ["ema", "the top level"]}
    path = save(tmp_path / "y.pt", {"a": llama(), "b": llama()})
    with pytest.raises(BadFile, match=r"several dicts of tensors \(a, b\)"):
        ftdiff.open_checkpoint(path)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def _archive(path: Path, raw: bytes, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("x/data.pkl", raw)
        for name, data in members.items():
            made.writestr(f"x/data/{name}", data)
    return path


def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "bomb.pt", {"w": torch.zeros(2), "x": _Bomb()})
    with pytest.raises(BadFile, match=r"bomb\.pt: not read, since it names posix\.system"):
        ftdiff.open_checkpoint(path)
    assert not (tmp_path / "ran").exists()


NESTED = b")q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(80))
HOSTILE = {
    "getattr": b"\x80\x02cbuiltins\ngetattr\n.",
    "ours": b"\x80\x02cftdiff\ncompare\n.",
    "dotted": b"\x80\x04\x8c\x05torch\x8c\x0cSize.__new__\x93.",
    "a huge memo": b"\x80\x02Nr\xff\xff\xff\xff.",
    "a huge array": b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\x00\x00.",
    "state of ours": b"\x80\x02ctorch\nSize\n}X\x01\x00\x00\x00aK\x01sb.",
    "an instance": b"\x80\x02(ccollections\nOrderedDict\no.",
    "an extension": b"\x80\x02\x82\x01.",
    "an empty stack": b"\x80\x02R.",
    "cut": b"\x80\x02}X\x05",
    "a key that cannot be one": b"\x80\x02}]K\x01s.",
    "a recursive dict": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "text": b"hello",
    "nothing": b"",
    # hashing tuples in tuples, each twice in the next, would take 2^80 steps
    "a nested key": b"\x80\x02" + NESTED + b"0}h\x50K\x01s.",
    "a nested key of several": b"\x80\x02" + NESTED + b"0}(h\x50K\x01u.",
    "a nested key of a dict": b"\x80\x02" + NESTED + b"0(h\x50K\x01d.",
    "a nested entry": b"\x80\x04\x8f(" + NESTED + b"\x90.",
    "a frozen entry": b"\x80\x04(" + NESTED + b"\x91.",
    "a nested pair": b"\x80\x02" + NESTED + b"0ccollections\nOrderedDict\n](h\x50K\x01\x86e\x85R.",
    "a nested shape": b"\x80\x02" + NESTED + b"0ctorch\nSize\n]h\x50a\x85R.",
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_are_one_line(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(BadFile, match=r"h\.pt: (not read, since|no dict of tensors)") as error:
        ftdiff.open_checkpoint(_archive(tmp_path / "h.pt", raw))
    assert "\n" not in str(error.value)


def test_a_damaged_file_is_read_or_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "w.pt", {"model": llama(), "epoch": 1}).read_bytes()
    draw = np.random.default_rng(0)
    path = tmp_path / "damaged.pt"
    refused = 0
    for _ in range(300):
        raw = bytearray(whole)
        begin = whole.index(b"PK") + 60 if draw.random() < 0.7 else len(whole) - 2000
        for at in draw.integers(begin, min(begin + 3000, len(raw)), size=3):
            raw[at] = draw.integers(256)
        path.write_bytes(raw)
        try:
            ftdiff.open_checkpoint(path)
        except BadFile as error:
            refused += 1
            assert "damaged.pt" in str(error)
    assert refused > 150


def test_sizes_that_lie(tmp_path: Path) -> None:
    def pickled(storage: tuple[Any, ...], *view: Any) -> bytes:
        class Writer(pickle._Pickler):
            def persistent_id(self, held: Any) -> Any:
                return storage if isinstance(held, _Storage) else None

        import io

        out = io.BytesIO()
        Writer(out, 2).dump({"w": _Tensor(view)})
        return out.getvalue()

    kind = torch.FloatStorage
    for storage, view in (
        (("storage", kind, "0", "cpu", 4), (0, (4,), (1,))),  # 16 bytes of 8
        (("storage", kind, "0", "cpu", 2), (1, (2,), (1,))),
        (("storage", kind, "0", "cpu", 2), (0, (2, 2), (1 << 40, 1))),
        (("storage", kind, "1", "cpu", 2), (0, (2,), (1,))),  # no such member
        (("storage", kind, "0", "cpu", 2), (-1, (2,), (1,))),
        (("storage", kind, "0", "cpu", 2), (0, (2,), (1, 1))),
        (("storage", kind, "0", "cpu", 2), (0, (2.0,), (1,))),
        (("storage", kind, 0, "cpu", 2), (0, (2,), (1,))),
        (("storage", kind, "0", "cpu", 2), (0, (2,), (-1,))),
        (("storage", kind, "0", "cpu", 2), (0, (1 << 40, 2), (0, 1))),  # read for days
        (("storage", kind, "0", "cpu", 2), (0, (1 << 61,) * 60, (0,) * 60)),
        (("storage", kind, "0", "cpu", 2), (0, (1,) * 65, (0,) * 65)),
    ):
        path = _archive(tmp_path / "lie.pt", pickled(storage, *view), **{"0": bytes(8)})
        with pytest.raises(BadFile, match=r"lie\.pt") as error:
            ftdiff.open_checkpoint(path)
        assert len(str(error.value)) < 300 + len(str(path))


class _Storage:
    pass


class _Tensor:
    def __init__(self, view: tuple[Any, ...]) -> None:
        self.view = view

    def __reduce__(self) -> tuple[Any, ...]:
        return torch._utils._rebuild_tensor, (_Storage(), *self.view)


def test_compressed_and_legacy_files_have_a_way_out(tmp_path: Path) -> None:
    whole = save(tmp_path / "w.pt", {"w": torch.zeros(30, 30)})
    small = tmp_path / "small.pt"
    with zipfile.ZipFile(whole) as held, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as made:
        for name in held.namelist():
            made.writestr(name, held.read(name))
    with pytest.raises(BadFile, match="compressed; save it again with torch"):
        ftdiff.open_checkpoint(small)
    old = tmp_path / "old.bin"
    torch.save({"w": torch.zeros(2)}, old, _use_new_zipfile_serialization=False)
    with pytest.raises(BadFile, match=r"before 1\.6"):
        ftdiff.open_checkpoint(old)
    cut = tmp_path / "cut.pt"
    cut.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(BadFile, match=r"cut\.pt: truncated"):
        ftdiff.open_checkpoint(cut)


def test_every_global_is_ours() -> None:
    assert {name.partition(".")[0] for name, _ in records._KNOWN} == {"collections", "torch"}
