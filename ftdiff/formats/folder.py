"""A folder of files, wherever it is: names with sizes, small files read, large ones as sources."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ftdiff.errors import BadFile
from ftdiff.formats.irregular import refuse_irregular
from ftdiff.tensors import Source, local, stamp


class Folder(Protocol):
    """What is asked of a place that holds files."""

    @property
    def name(self) -> str:
        """As the user named it, for people."""

    @property
    def is_local(self) -> bool:
        """Whether its files are asked of this machine, not of another."""

    def files(self) -> Mapping[str, int]:
        """Return the files right in it by name, and their sizes in bytes.

        What is there, and neither a file nor a folder, has size -1: `has_file` refuses it.
        """

    def folders(self) -> tuple[str, ...]:
        """Return the names of the folders right in it."""

    def has_file(self, name: str) -> bool:
        """Say whether a file of that name is right in it.

        Raises
        ------
        BadFile
            What is called so is a pipe, a device, or a link to nowhere.
        """

    def has_folder(self, name: str) -> bool:
        """Say whether a folder of that name is right in it."""

    def within(self, name: str) -> Folder:
        """Return a folder right in it."""

    def above(self) -> Folder:
        """Return the folder that it is in; itself where there is none."""

    def called(self, name: str) -> str:
        """Return how a file in it is called in full, for people."""

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

    @property
    def is_local(self) -> bool:
        """True."""
        return True

    def files(self) -> Mapping[str, int]:
        """Return the files right in it, and with size -1 what is neither a file nor a folder."""
        return {entry.name: size for entry in self._entries() if (size := _size(entry)) is not None}

    def folders(self) -> tuple[str, ...]:
        """Return the names of the folders right in it."""
        found = []
        for entry in self._entries():
            with suppress(OSError):
                found += [entry.name] if entry.is_dir() else []
        return tuple(found)

    def has_file(self, name: str) -> bool:
        """Say whether a file of that name is right in it, or where a link leads; see `Folder`."""
        if os.path.isfile(self.path / name):
            return True
        refuse_irregular(self.path / name)
        return False

    def has_folder(self, name: str) -> bool:
        """Say whether a folder of that name is right in it."""
        return os.path.isdir(self.path / name)

    def within(self, name: str) -> LocalFolder:
        """Return a folder right in it."""
        return LocalFolder(self.path / name)

    def above(self) -> LocalFolder:
        """Return the folder that it is in, as its path is written."""
        return LocalFolder(self.path.parent)

    def called(self, name: str) -> str:
        """Return the file's path."""
        return str(self.path / name)

    def read(self, name: str, limit: int) -> bytes:
        """Return a small file whole; see `Folder`."""
        path = self.path / name
        refuse_irregular(path)
        try:
            size = stamp(path)[2]
            if size > limit:
                raise BadFile(f"{path}: {size} bytes is too large for a configuration")
            return path.read_bytes()
        except OSError as error:
            raise BadFile(f"{path}: {error.strerror or error}") from error

    def source(self, name: str) -> Source:
        """Return a file as it is read best here; see `Folder`."""
        refuse_irregular(self.path / name)
        return local(self.path / name)

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.path) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise BadFile(f"{self.path}: {error.strerror or error}") from error


def _size(entry: os.DirEntry[str]) -> int | None:
    """Return a file's size, -1 for what cannot be read as one; None for a folder."""
    with suppress(OSError):  # a link that leads round in a circle
        if entry.is_dir():
            return None
        return entry.stat().st_size if entry.is_file() else -1
    return -1
