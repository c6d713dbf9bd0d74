"""A map that is cut short while it is read costs what was read of it, never the process."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import mmap
import os
import random
import signal
import threading
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import ftdiff.kernels  # noqa: F401 - it offers the guard
from ftdiff.errors import BadFile
from ftdiff.tensors import MappedFile, guard, local, stamp
from ftdiff.tensors.opened import Opened, opened

SIZE = 6 << 20

pytestmark = pytest.mark.skipif(not guard.POSSIBLE, reason="there is no guard on this system")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "x"
    file.write_bytes(b"\1" * SIZE)
    return file


def total(source: MappedFile, meanwhile: Callable[[], None] = lambda: None) -> int:
    with source.lend(0, SIZE) as lent:
        meanwhile()
        return int(np.frombuffer(lent, np.uint8).sum(dtype=np.int64))


@pytest.mark.parametrize("kept", [0, 1, 5000, SIZE // 2, SIZE - 1])
def test_a_file_cut_short_while_it_is_read_is_unreadable(path: Path, kept: int) -> None:
    source = MappedFile(str(path), stamp(path))
    assert total(source) == SIZE
    with pytest.raises(BadFile, match="cut short since it was opened"):
        total(source, lambda: os.truncate(path, kept))
    path.write_bytes(b"\2" * SIZE)
    assert total(MappedFile(str(path), stamp(path))) == 2 * SIZE


def test_what_was_restored_in_the_meantime_is_not_taken_for_the_file(path: Path) -> None:
    source = MappedFile(str(path), stamp(path))
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns

    def cut_and_mend() -> None:
        os.truncate(path, 0)

    with pytest.raises(BadFile, match="could not be read"), source.lend(0, SIZE) as lent:
        cut_and_mend()
        assert np.frombuffer(lent, np.uint8)[-1] == 0
        path.write_bytes(b"\1" * SIZE)
        os.utime(path, ns=times)
    assert total(source) == SIZE  # in a new map


def test_an_error_made_of_what_was_cut_short_is_the_file_s(path: Path) -> None:
    source = MappedFile(str(path), stamp(path))
    with pytest.raises(BadFile, match="cut short"), source.lend(0, SIZE) as lent:
        os.truncate(path, 0)
        [1][np.frombuffer(lent, np.uint8)[-1] + 1]


def test_a_window_elsewhere_in_the_file_is_whole_by_its_own_pages(path: Path) -> None:
    keeper = guard.guard()
    assert keeper is not None
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    address = np.frombuffer(pages, np.uint8).ctypes.data
    number = keeper.watch(address, SIZE)
    assert number is not None and keeper.holes(number) is None
    os.truncate(path, 3 << 20)
    assert pages[0] == 1 and keeper.holes(number) is None
    assert pages[SIZE - 1] == 0
    found = keeper.holes(number)
    assert found is not None and 0 < found[1] - found[0] <= 2 << 20 and found[1] == address + SIZE
    keeper.release(number)


def test_a_map_that_is_closed_is_guarded_no_more(path: Path) -> None:
    keeper = guard.guard()
    held = len(keeper._free)  # type: ignore[union-attr]
    for number in range(20):
        os.utime(path, ns=(number, number))
        assert total(MappedFile(str(path), stamp(path))) == SIZE
    opened.cache_clear()
    gc.collect()
    assert len(keeper._free) >= held  # type: ignore[union-attr]


def test_more_maps_than_can_be_guarded_are_copied(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(guard.guard()), "watch", lambda *_: None)
    os.utime(path, ns=(7, 7))
    source = MappedFile(str(path), stamp(path))
    with source.lend(0, SIZE) as lent:
        os.truncate(path, 0)
        assert bytes(lent) == b"\1" * SIZE


def test_a_file_of_which_nothing_is_left_before_it_is_mapped_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, check = MappedFile(str(path), stamp(path)), Opened.check

    def checked(file: Opened) -> None:
        check(file)
        os.truncate(path, 0)

    monkeypatch.setattr(Opened, "check", checked)
    with pytest.raises(BadFile, match="cut short"), source.lend(0, SIZE):
        pass


def test_twenty_cuts_and_rewritings_at_random_moments(path: Path) -> None:
    chance = random.Random(7)
    for _ in range(20):
        path.write_bytes(b"\1" * SIZE)
        source = local(path)
        later = threading.Timer(chance.random() * 0.004, _spoil, (path, chance.random() < 0.5))
        later.start()
        try:
            for _ in range(40):
                assert total(source) == SIZE
        except BadFile as error:
            assert "since it was opened" in str(error)
        later.join()


def _spoil(path: Path, cut: bool) -> None:
    if cut:
        os.truncate(path, 0)
    else:
        with path.open("r+b") as file:
            file.write(b"\3" * SIZE)


def _foreign(path: str, chained: str) -> None:
    """Read a map that nobody guards, behind the end of its file."""
    faulthandler.disable()
    if chained == "before":
        faulthandler.enable(2)
    assert total(local(path)) == SIZE
    if chained == "after":
        faulthandler.enable(2)
        assert total(local(path)) == SIZE
        with pytest.raises(BadFile):
            total(local(path), lambda: os.truncate(path, 0))
        Path(path).write_bytes(b"\1" * SIZE)
    if chained == "sent":
        os.kill(os.getpid(), signal.SIGBUS)
    with open(path, "rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    os.truncate(path, 0)
    ctypes.string_at(np.frombuffer(pages, np.uint8).ctypes.data, 10)


@pytest.mark.filterwarnings("ignore")  # a fork of a process with threads
@pytest.mark.parametrize("chained", ["", "before", "after", "sent"])
def test_a_fault_that_is_not_ours_ends_the_process_as_ever(
    path: Path, chained: str, capfd: pytest.CaptureFixture[str]
) -> None:
    child = get_context("fork").Process(target=_foreign, args=(str(path), chained))
    child.start()
    child.join(30)
    ended = child.exitcode
    child.kill()
    assert ended == -signal.SIGBUS
    told = "Fatal Python error: Bus error" in capfd.readouterr().err
    assert told is (chained in ("before", "after"))
