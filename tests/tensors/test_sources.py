"""Bytes are the same from every source, and none is lent of a file that changed."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ftdiff.errors import BadFile
from ftdiff.tensors import FileTensor, MappedFile, PreadFile, Source, files, guard, local, stamp
from ftdiff.tensors.files import COPIED
from ftdiff.tensors.opened import opened

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


@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_that_was_written_while_it_was_read_is_lent(
    path: Path, kind: type[MappedFile | PreadFile]
) -> None:
    path.write_bytes(b"1" * 2 * COPIED)
    source, bad = kind(str(path), stamp(path)), None
    for size in (4, 2 * COPIED):
        try:
            with source.lend(0, size) as lent:
                with path.open("r+b") as file:
                    file.write(b"other")
                os.utime(path, ns=(1, 1))
                seen = bytes(lent)
        except BadFile as error:
            bad = str(error)
        else:
            assert seen == b"1" * size
        os.utime(path, ns=(source.stamp[3], source.stamp[3]))
        path.write_bytes(b"1" * 2 * COPIED)
        os.utime(path, ns=(source.stamp[3], source.stamp[3]))
    mapped = kind is MappedFile and guard.guard() is not None
    assert bad == (f"{path}: changed since it was opened; compare again" if mapped else None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_another_where_its_path_or_device_is(
    path: Path, kind: type[MappedFile | PreadFile]
) -> None:
    """A copy takes the file's place: the worker of another machine, or of a mount of its own."""
    source = kind(str(path), stamp(path))
    travelling = pickle.dumps(source)
    os.link(path, path.with_name("kept"))  # or its number may be given to the next file
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    os.utime(copy, ns=(1, 1))
    os.replace(copy, path)
    found = pickle.loads(travelling)
    assert stamp(path)[1] != source.stamp[1] and type(found) is PreadFile
    assert found.identity == source.identity
    with found.lend(0, 4000) as lent:
        assert bytes(lent) == path.read_bytes()
    for other in (b"other" * 800, b"shorter"):
        copy.write_bytes(other)
        os.replace(copy, path)
        found = pickle.loads(travelling)
        opened.cache_clear()
        with pytest.raises(BadFile, match="holds other bytes on"), found.lend(0, 4):
            pass


def test_the_file_itself_written_since_it_travelled_is_no_copy(path: Path) -> None:
    travelling = pickle.dumps(local(path))
    os.utime(path, ns=(1, 1))
    with pytest.raises(BadFile, match="changed"), pickle.loads(travelling).lend(0, 4):
        pass


def test_a_file_that_changed_before_it_travels_is_named_where_it_arrives(path: Path) -> None:
    source = local(path)
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    os.replace(copy, path)
    with pytest.raises(BadFile, match="changed"), pickle.loads(pickle.dumps(source)).lend(0, 4):
        pass


def test_a_file_of_a_shared_file_system_is_copied(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (type(local(path)) is MappedFile) is guard.POSSIBLE
    monkeypatch.setattr(files, "_file_system", lambda _: 0x6969)
    if sys.platform == "linux":
        assert files.is_shared(path)
        assert type(local(path)) is type(pickle.loads(pickle.dumps(local(path)))) is PreadFile
