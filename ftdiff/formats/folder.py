"""A folder of files, wherever it is: names with sizes, small files read, large ones as sources."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ftdiff.errors import BadFile
from ftdiff.tensors import MappedFile, Source, stamp


class Folder(Protocol):
    """What is asked of a place that holds files."""

    @property
    def name(self) -> str:
        """As the user named it, for people."""

    def files(self) -> Mapping[str, int]:
        """Return the files right in it by name, and their sizes in bytes."""

    def folders(self) -> tuple[str, ...]:
        """Return the names of the folders right in it."""

    def within(self, name: str) -> Folder:
        """Return a folder right in it."""

    def read(self, name: str, limit: int) -> bytes:
        """Return a small file whole.

        Raises
        ------
        BadFile
            It is larger than `limit`, or cannot be read.
        """

    def source(self, name: str) -> Source:
        """Return a file as a source of bytes; none is read.

        Raises
        ------
        BadFile
            There is no such file, or it cannot be read twice.
        """


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine."""

    path: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def files(self) -> Mapping[str, int]:
        """Return the files right in it; a link that leads nowhere is none."""
        return {entry.name: entry.stat().st_size for entry in self._entries() if entry.is_file()}

    def folders(self) -> tuple[str, ...]:
        """Return the names of the folders right in it."""
        return tuple(entry.name for entry in self._entries() if entry.is_dir())

    def within(self, name: str) -> LocalFolder:
        """Return a folder right in it."""
        return LocalFolder(self.path / name)

    def read(self, name: str, limit: int) -> bytes:
        """Return a small file whole; see `Folder`."""
        path = self.path / name
        try:
            size = stamp(path)[2]
            if size > limit:
                raise BadFile(f"{path}: {size} bytes is too large for a configuration")
            return path.read_bytes()
        except OSError as error:
            raise BadFile(f"{path}: {error.strerror or error}") from error

    def source(self, name: str) -> Source:
        """Return a file as a memory map; see `Folder`."""
        path = self.path / name
        try:
            return MappedFile(str(path), stamp(path))
        except OSError as error:
            raise BadFile(f"{path}: {error.strerror or error}") from error

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.path) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise BadFile(f"{self.path}: {error.strerror or error}") from error
