"""A folder at an address: what does not depend on who is asked for what is in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ftdiff.errors import BadFile
from ftdiff.tensors import Source


@dataclass(frozen=True)
class AddressedFolder(ABC):
    """A folder by its URL; a subclass says how it is listed, and its files are opened."""

    url: str

    @property
    def is_local(self) -> bool:
        """False."""
        return False

    @abstractmethod
    def folders(self) -> tuple[str, ...]:
        """Return the names of the folders right in it, where it can be listed."""

    @abstractmethod
    def source(self, name: str) -> Source:
        """Return a file by its ranges; see `Folder`."""

    def has_folder(self, name: str) -> bool:
        """Say whether a folder of that name is right in it, where it can be listed."""
        return name in self.folders()

    def read(self, name: str, limit: int) -> bytes:
        """Return a small file whole; see `Folder`."""
        source = self.source(name)
        if source.size > limit:
            raise BadFile(f"{source.name}: {source.size} bytes is too large for a configuration")
        with source.lend(0, source.size) as lent:
            return bytes(lent)
