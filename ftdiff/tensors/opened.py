"""A local file that is open: its bytes as copies or as a map, as long as it stays what it was."""

from __future__ import annotations

import errno
import mmap
import os
import socket
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np

from ftdiff.errors import BadFile
from ftdiff.tensors.guard import Guard, guard
from ftdiff.tensors.identity import sample
from ftdiff.tensors.source import Stamp, stamp, stamp_of

#: Files that are kept open, at most.
_MOST = 256


class Opened:
    """An open file, closed when nobody holds it any more.

    Its size and the time of its last change are watched from here on: those of the file that is
    open, whatever has been put at its path since. A file that is written through a map of it may
    be changed without another time.

    Raises
    ------
    BadFile
        It is not the file that was opened when the run began: another one, or written since. On
        another machine, or where it was copied, its content decides (see `content`).
    """

    def __init__(self, path: str, expected: Stamp, content: str) -> None:
        self.path = path
        stamp(path)  # opening a pipe may wait
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._handle)
        self._lock = threading.Lock()
        self._map: _Map | None = None
        found = stamp_of(os.fstat(self._handle), path)
        self._size, self._mtime = found[2:]
        if found != expected:
            self._recognise(found, expected, content)

    def _recognise(self, found: Stamp, expected: Stamp, content: str) -> None:
        if not content or found[:2] == expected[:2]:  # the very file, and written since
            raise BadFile(f"{self.path}: changed since it was opened; compare again")
        if found[2] != expected[2] or sample(found[2], self.copy) != content:
            where = socket.gethostname()
            raise BadFile(f"{self.path}: holds other bytes on {where} than where the run began")
        self.check()

    def check(self) -> None:
        """Raise where the file is not any more what it was: written in place, or cut short."""
        try:
            found = os.fstat(self._handle)
        except OSError as error:  # of a server that has lost it
            raise BadFile(f"{self.path}: {error.strerror or error}") from error
        if (found.st_size, found.st_mtime_ns) != (self._size, self._mtime):
            what = "cut short" if found.st_size < self._size else "changed"
            raise BadFile(f"{self.path}: {what} since it was opened; compare again")

    def copy(self, start: int, stop: int) -> memoryview:
        """Return a copy of a run of bytes."""
        held = np.empty(max(stop - start, 0), np.uint8).data
        done = 0
        try:
            while done < len(held):
                count = self._fill(held[done:], start + done)
                if not count:
                    raise BadFile(f"{self.path}: cut short since it was opened; compare again")
                done += count
        except OSError as error:
            raise BadFile(f"{self.path}: {error.strerror or error}") from error
        return held.toreadonly()

    def _fill(self, held: memoryview, start: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._handle, [held], start)
        with self._lock:  # of a place in the file there is one
            os.lseek(self._handle, start, os.SEEK_SET)
            got = os.read(self._handle, len(held))
        held[: len(got)] = got
        return len(got)

    @contextmanager
    def mapped(self, start: int, stop: int) -> Iterator[memoryview]:
        """Lend a run of a map, whose pages are given back when it ends; a copy without a guard.

        Raises
        ------
        BadFile
            What was lent was not all of it the file's, as it is known when the run ends.
        """
        pages = self._pages()
        if pages is None:
            held = self.copy(start, stop)
            self.check()
            yield held
            return
        try:
            yield pages.view[start:stop]
        except Exception:
            self._settle(pages, start, stop)  # an error made of other bytes is theirs
            raise
        pages.give_back(start, stop)
        self._settle(pages, start, stop)

    def _settle(self, pages: _Map, start: int, stop: int) -> None:
        hole = pages.has_hole(start, stop)
        if hole:
            opened.cache_clear()  # whoever reads on does so in a new map
        self.check()
        if hole:
            raise BadFile(f"{self.path}: bytes {start} to {stop} could not be read")

    def _pages(self) -> _Map | None:
        keeper = guard()
        if keeper is None:
            return None
        with self._lock:
            if self._map is None:
                try:
                    self._map = _Map(self._handle, keeper)
                except (OSError, ValueError):  # no room for it, or nothing is left of the file
                    return None
        keeper.stand()
        return self._map if self._map.number is not None else None


class _Map:
    """A map of a whole file, that is guarded; released before it is closed."""

    def __init__(self, handle: int, keeper: Guard) -> None:
        self._pages = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
        self.view = memoryview(self._pages)
        self._address = np.frombuffer(self._pages, np.uint8).ctypes.data
        self._keeper = keeper
        self.number = keeper.watch(self._address, len(self._pages))
        if self.number is not None:
            weakref.finalize(self, keeper.release, self.number)

    def give_back(self, start: int, stop: int) -> None:
        """Let the system have the pages of a run, as far as it lies in whole ones."""
        first = start - start % mmap.PAGESIZE
        self._pages.madvise(mmap.MADV_DONTNEED, first, stop - first)

    def has_hole(self, start: int, stop: int) -> bool:
        """Say whether zeros may have stood for bytes of a run."""
        assert self.number is not None
        found = self._keeper.holes(self.number)
        if found is None:
            return False
        low, high = (at - self._address for at in found)
        return low < stop and start < high


def _at_once() -> int:
    """Return how many files are kept open: a map takes another handle, and others take some."""
    try:
        import resource
    except ImportError:  # not on Windows
        return _MOST
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if most < 0 else max(1, min(_MOST, most // 8))


@lru_cache(maxsize=_at_once())
def opened(path: str, expected: Stamp, content: str) -> Opened:
    """Return an open file, opened when it is first asked for.

    Raises
    ------
    BadFile
        It cannot be opened, or is another than is expected; see `Opened`.
    """
    try:
        try:
            return Opened(path, expected, content)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        opened.cache_clear()  # others have the handles
        return Opened(path, expected, content)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
