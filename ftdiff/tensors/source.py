"""Where bytes come from: an identity, and a run of them lent when asked."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable, Iterable
from contextlib import AbstractContextManager
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


def stamp(path: str | os.PathLike[str]) -> Stamp:
    """Return what identifies a file's bytes without reading them, links resolved.

    Raises
    ------
    BadFile
        It is a pipe or a device: opening one may wait, and reading one may not end.
    """
    return stamp_of(os.stat(path), path)


def stamp_of(status: os.stat_result, path: str | os.PathLike[str]) -> Stamp:
    """Return the stamp of a status that was asked for; `path` is named where it is no file."""
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise BadFile(f"{path}: not a file that can be read twice, but a pipe or a device")
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
