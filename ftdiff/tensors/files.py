"""Local files as sources: one that is mapped, one that is read by copies, and which is for what."""

from __future__ import annotations

import ctypes
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.tensors import guard
from ftdiff.tensors.identity import content
from ftdiff.tensors.opened import opened
from ftdiff.tensors.source import Stamp, stamp

#: Runs of fewer bytes are copied of any file: that costs no more than their pages would.
COPIED = 256 << 10
#: Linux's numbers of file systems whose files another machine, or a program, may change: NFS, SMB
#: (three), FUSE, Lustre, Ceph, GPFS, AFS, 9P, BeeGFS, GFS2, OCFS2, PanFS.
_SHARED = frozenset(
    {
        *(0x6969, 0x517B, 0xFF534D42, 0xFE534D42, 0x65735546, 0x0BD00BD0, 0x00C36400),
        *(0x47504653, 0x5346414F, 0x01021997, 0x19830326, 0x01161970, 0x7461636F, 0xAAD7AAEA),
    }
)


@dataclass(frozen=True)
class _File(ABC):
    """A local file, as it was when it was opened.

    Attributes
    ----------
    path
        Where it lies, on every machine that reads it.
    stamp
        What it was where it was opened.
    content
        What tells its bytes from others on another machine; "" until it travels.
    """

    path: str
    stamp: Stamp
    content: str = field(default="", compare=False, repr=False)

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

    @property
    def identity(self) -> Hashable:
        """The file itself, links resolved."""
        return self.stamp

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:  # noqa: B027 - nothing is missing
        """Do nothing: the system reads ahead."""

    @abstractmethod
    def lend(self, start: int, stop: int) -> AbstractContextManager[memoryview]:
        """Lend bytes; see `Source`."""

    def __reduce__(self) -> tuple[Any, ...]:
        path = os.path.abspath(self.path)  # whoever reads it may work in another folder
        return _arrived, (type(self), path, self.stamp, self.content or _content(self))


@dataclass(frozen=True)
class MappedFile(_File):
    """A local file as one memory map, of which the pages of a run are given back when it ends."""

    @contextmanager
    def lend(self, start: int, stop: int) -> Iterator[memoryview]:
        """Lend a view of the map; see `Source`."""
        file = opened(self.path, self.stamp, self.content)
        file.check()
        if stop - start < COPIED:
            lent = file.copy(start, stop)
            file.check()
            yield lent
            return
        with file.mapped(start, stop) as view:
            yield view


@dataclass(frozen=True)
class PreadFile(_File):
    """A local file that is read by copies: half as fast, and safe where a map is not."""

    @contextmanager
    def lend(self, start: int, stop: int) -> Iterator[memoryview]:
        """Lend a copy; see `Source`."""
        file = opened(self.path, self.stamp, self.content)
        file.check()
        lent = file.copy(start, stop)
        file.check()
        yield lent


def local(path: str | os.PathLike[str]) -> MappedFile | PreadFile:
    """Return a file of this machine as a source: a map where no other machine can cut it short.

    Raises
    ------
    BadFile
        There is no such file, or it cannot be read twice.
    """
    try:
        found = stamp(path)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    kind = MappedFile if guard.POSSIBLE and not is_shared(path) else PreadFile
    return kind(os.fspath(path), found)


def is_shared(path: str | os.PathLike[str]) -> bool:
    """Say whether a file lies on a file system that other machines or programs write to."""
    return (
        sys.platform == "linux" and _file_system(os.path.dirname(os.path.realpath(path))) in _SHARED
    )


@lru_cache(maxsize=256)
def _file_system(folder: str) -> int:
    told = ctypes.create_string_buffer(512)
    if ctypes.CDLL(None).statfs(os.fsencode(folder), told):
        return 0
    return int.from_bytes(told.raw[:4], sys.byteorder)


@lru_cache(maxsize=4096)
def _content(file: _File) -> str:
    """Return a file's content; "" where it is not any more what it was, which readers will say."""
    with suppress(BadFile):
        return content(file)
    return ""


def _arrived(
    kind: type[MappedFile | PreadFile], path: str, seen: Stamp, content: str
) -> MappedFile | PreadFile:
    """Return a file that came from another process: what is another file here is not mapped."""
    with suppress(OSError, BadFile):
        if kind is MappedFile and stamp(path) == seen and not is_shared(path):
            return MappedFile(path, seen, content)
    return PreadFile(path, seen, content)
