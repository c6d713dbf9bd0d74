"""Where bytes come from: an identity, and a run of them lent when asked."""

from __future__ import annotations

import mmap
import os
import stat
import weakref
from collections.abc import Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from ftdiff.errors import BadFile

#: What identifies a local file without reading it: device, inode, size and time of last change.
Stamp = tuple[int, int, int, int]


class Source(Hashable, Protocol):
    """A run of bytes that can be read again: small, frozen, and the same on every worker."""

    @property
    def name(self) -> str:
        """The path or URL, for people."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    @property
    def is_local(self) -> bool:
        """Whether they lie on this machine: reading them again costs little."""

    @property
    def identity(self) -> Hashable:
        """Equal for two sources only if they hold the same bytes."""

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        """Be told which bytes will be asked for, each once; of a local file that changes nothing.

        A later call takes the place of an earlier one.
        """

    def lend(self, start: int, stop: int) -> AbstractContextManager[memoryview]:
        """Lend bytes `start` to `stop`, not to be written, nor kept after the block.

        Raises
        ------
        BadFile
            The bytes are not there any more, or are others than when it was opened.
        """


@dataclass(frozen=True)
class _File:
    """A local file, as it was when it was opened."""

    path: str
    stamp: Stamp

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    @property
    def size(self) -> int:
        """The file's size when it was opened."""
        return self.stamp[2]

    @property
    def is_local(self) -> bool:
        """True."""
        return True

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        """Do nothing: the system reads ahead."""

    @property
    def identity(self) -> Hashable:
        """The file itself, links resolved."""
        return self.stamp


@dataclass(frozen=True)
class MappedFile(_File):
    """A local file as one memory map, of which the pages of a run are given back when it ends."""

    @contextmanager
    def lend(self, start: int, stop: int) -> Iterator[memoryview]:
        """Lend a view of the map; see `Source`."""
        if stop <= start:
            yield memoryview(b"")
            return
        mapped = _map(self.path, self.stamp)
        mapped.check(self)  # reading beyond the end of a file ends the process
        yield memoryview(mapped.pages)[start:stop]
        _give_back(mapped.pages, start, stop)
        mapped.check(self)


@dataclass(frozen=True)
class PreadFile(_File):
    """A local file that is read by copies: half as fast, and safe where a map is not.

    A file on a network file system may be cut short by another machine, which ends a process that
    reads a map of it.
    """

    @contextmanager
    def lend(self, start: int, stop: int) -> Iterator[memoryview]:
        """Lend a copy; see `Source`."""
        held = bytearray(max(stop - start, 0))
        view = memoryview(held)
        try:
            with open(self.path, "rb", buffering=0) as file:
                if stamp(self.path) != self.stamp:
                    raise BadFile(f"{self.path}: changed since it was opened; compare again")
                file.seek(start)
                done = 0
                while done < len(held):
                    count = file.readinto(view[done:])
                    if not count:
                        raise BadFile(f"{self.path}: cut short since it was opened; compare again")
                    done += count
        except OSError as error:
            raise BadFile(f"{self.path}: {error.strerror or error}") from error
        yield view.toreadonly()


def stamp(path: str | os.PathLike[str]) -> Stamp:
    """Return what identifies a file's bytes without reading them, links resolved.

    Raises
    ------
    BadFile
        It is a pipe or a device: opening one may wait, and reading one may not end.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise BadFile(f"{path}: not a file that can be read twice, but a pipe or a device")
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _Mapped:
    """A file that is open, and its map; both are closed when nobody holds them any more."""

    def __init__(self, path: str, expected: Stamp) -> None:
        handle = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, handle)
        if stamp(path) != expected:
            raise BadFile(f"{path}: changed since it was opened; compare again")
        self._handle = handle
        self.pages = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)

    def check(self, expected: MappedFile) -> None:
        """Raise where the file is not any more what it was: written in place, or cut short."""
        found = os.fstat(self._handle)
        if (found.st_size, found.st_mtime_ns) != expected.stamp[2:]:
            what = "cut short" if found.st_size < expected.size else "changed"
            raise BadFile(f"{expected.path}: {what} since it was opened; compare again")


@lru_cache(maxsize=256)
def _map(path: str, expected: Stamp) -> _Mapped:
    try:
        return _Mapped(path, expected)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error


def _give_back(pages: mmap.mmap, start: int, stop: int) -> None:
    if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        first = start - start % mmap.PAGESIZE
        pages.madvise(mmap.MADV_DONTNEED, first, stop - first)
