"""Distributed checkpoints as torch writes them, from one process and from two."""

from __future__ import annotations

import pickle
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp

import ftdiff
from ftdiff.errors import BadFile
from tests.conftest import llama, nudge, write_model
from tests.formats import dcp_ranks


@pytest.mark.filterwarnings("ignore")
def save(folder: Path, held: dict[str, Any]) -> Path:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(held, checkpoint_id=folder, no_dist=True)
    return folder


def test_blocks_of_several_machines_are_one_tensor(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(dcp_ranks.save, (port, str(tmp_path / "run")), nprocs=2)
    opened = ftdiff.open_checkpoint(tmp_path / "run")
    assert {note.record()["code"] for note in opened.notes} == {  # type: ignore[attr-defined]
        "descended",
        "beside-the-weights",
    }
    for name, W in dcp_ranks.whole().items():
        tensor = opened.tensors[name]
        assert tensor.shape == tuple(W.shape)
        assert np.array_equal(tensor.read(), W.numpy()), name
        assert np.array_equal(tensor.read(slice(1, 5, 2)), W[1:5:2].numpy())
        for start, stop in ((0, W.numel()), (3, 8), (7, 7), (W.numel() - 2, W.numel())):
            with tensor.window(start, stop) as lent:
                assert np.array_equal(lent, W.reshape(-1)[start:stop].numpy()), name
    (tmp_path / "run" / "__1_0.distcp").unlink()
    with pytest.raises(BadFile, match=r"__1_0\.distcp: No such file"):
        ftdiff.open_checkpoint(tmp_path / "run")


def test_a_checkpoint_has_the_numbers_of_its_safetensors(tmp_path: Path) -> None:
    base, tuned = llama(), nudge(llama())
    wanted = ftdiff.compare(base, tuned)
    held = write_model(tmp_path / "base", base)
    for name, state in (("flat", tuned), ("nested", {"model": tuned, "step": 3})):
        diff = ftdiff.compare(held, save(tmp_path / name, state))
        assert diff.overall == wanted.overall
    assert ftdiff.open_checkpoint(tmp_path / "flat" / ".metadata").format == "dcp"


def test_damage_is_one_line(tmp_path: Path) -> None:
    folder = save(tmp_path / "run", dcp_ranks.whole())
    raw = (folder / ".metadata").read_bytes()
    draw = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(raw)
        for at in draw.integers(20, len(raw), size=2):
            damaged[at] = draw.integers(256)
        (folder / ".metadata").write_bytes(damaged)
        try:
            for tensor in ftdiff.open_checkpoint(folder).tensors.values():
                tensor.read()
        except BadFile as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100
    (folder / ".metadata").write_bytes(raw)
    (part,) = folder.glob("*.distcp")
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(BadFile, match="ends after the file does"):
        ftdiff.open_checkpoint(folder)


def nested() -> tuple[Any, ...]:
    """Return a tuple that is small in a file, and has 2^80 leaves."""
    held: tuple[Any, ...] = ()
    for _ in range(80):
        held = (held, held)
    return held


LIES: dict[str, Any] = {
    "a giant": lambda tensor, meta: setattr(tensor, "size", torch.Size([1 << 40, 1 << 20])),
    "many sides": lambda tensor, meta: setattr(tensor, "size", (1 << 61,) * 300),
    "beyond numbers": lambda tensor, meta: setattr(tensor, "size", (1 << 61,) * 60),
    "other sides": lambda tensor, meta: setattr(tensor, "size", torch.Size([96])),
    "a block often": lambda tensor, meta: setattr(tensor, "chunks", tensor.chunks * 50_000),
    "a path": lambda tensor, meta: meta.planner_data.update({"W": nested()}),
    "a long number": lambda tensor, meta: meta.planner_data.update({"W": (10**5000,)}),
    "before the file": lambda tensor, meta: [
        setattr(place, "offset", -5) for place in meta.storage_data.values()
    ],
    "beyond the file": lambda tensor, meta: [
        setattr(place, "length", 1 << 70) for place in meta.storage_data.values()
    ],
}


@pytest.mark.parametrize("lie", LIES)
def test_metadata_that_lies_is_refused_at_once(lie: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "run", {"W": torch.ones(12, 8)})
    file = folder / ".metadata"
    meta = pickle.loads(file.read_bytes())
    LIES[lie](meta.state_dict_metadata["W"], meta)
    file.write_bytes(pickle.dumps(meta))
    start = time.process_time()
    with pytest.raises(BadFile) as error:
        ftdiff.open_checkpoint(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300 + len(str(folder))
    assert time.process_time() - start < 3


def test_a_part_is_not_a_checkpoint(tmp_path: Path) -> None:
    folder = save(tmp_path / "run", dcp_ranks.whole())
    (part,) = folder.glob("*.distcp")
    lone = tmp_path / part.name
    shutil.copy(part, lone)
    with pytest.raises(BadFile, match="distcp"):
        ftdiff.open_checkpoint(lone)
