"""Bytes are the same from every source, and none is lent of a file that changed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from ftdiff.errors import BadFile
from ftdiff.tensors import FileTensor, MappedFile, PreadFile, Source, stamp

KINDS = (MappedFile, PreadFile)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "bytes"
    file.write_bytes(np.arange(1000, dtype="<f4").tobytes())
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_lends_its_bytes(path: Path, kind: type[MappedFile | PreadFile]) -> None:
    source: Source = kind(str(path), stamp(path))
    assert source.size == 4000 and source.name == str(path)
    with source.lend(3, 40) as lent:
        assert bytes(lent) == path.read_bytes()[3:40] and lent.readonly
    with source.lend(7, 7) as lent:
        assert bytes(lent) == b""
    tensor = FileTensor(source, 400, (30, 30), "F32")
    assert np.array_equal(tensor.read(slice(2, 9, 3)), np.arange(100, 1000).reshape(30, 30)[2:9:3])
    again = pickle.loads(pickle.dumps(tensor))
    assert again == tensor and again.storage == tensor.storage and hash(again) == hash(tensor)


def test_two_ways_to_one_file_are_one_storage(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    ways = [kind(str(at), stamp(at)) for kind in KINDS for at in (path, link)]
    assert len({way.identity for way in ways}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_changed_is_named(path: Path, kind: type[MappedFile | PreadFile]) -> None:
    source = kind(str(path), stamp(path))
    os.utime(path, ns=(1, 1))
    with pytest.raises(BadFile, match="changed since it was opened"), source.lend(0, 4):
        pass
    path.unlink()
    with pytest.raises(BadFile, match="bytes: "), source.lend(0, 4):
        pass


def test_a_file_that_is_cut_short_while_it_is_read_is_named(path: Path) -> None:
    source = MappedFile(str(path), stamp(path))
    with source.lend(0, 4):
        pass
    os.truncate(path, 100)
    with pytest.raises(BadFile, match="cut short"), source.lend(0, 4):
        pass


def test_a_file_that_is_written_in_place_while_it_is_read_is_named(path: Path) -> None:
    source = MappedFile(str(path), stamp(path))
    with pytest.raises(BadFile, match="changed since it was opened"), source.lend(0, 4) as lent:
        assert len(lent) == 4
        with path.open("r+b") as file:
            file.write(b"other")
        os.utime(path, ns=(1, 1))
