"""Files of any other file system that fsspec knows, by their URL: ssh://, ftp://, memory://, …"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ftdiff.errors import BadFile, MissingExtra, require
from ftdiff.formats.remote.addressed import AddressedFolder
from ftdiff.formats.remote.asking import logger, offline
from ftdiff.formats.remote.ranges import Fetch, RemoteFile
from ftdiff.tensors import Source


def is_known(scheme: str) -> bool:
    """Say whether fsspec is there and has a file system of that name."""
    try:
        fsspec = require("fsspec", "remote", f"{scheme}://")
    except MissingExtra:
        return False
    return scheme in fsspec.available_protocols() and scheme not in ("file", "local")


@dataclass(frozen=True)
class SystemFile:
    """A file by its URL; a `Location`."""

    url: str

    @property
    def name(self) -> str:
        """The URL without a password."""
        return _shown(self.url)

    def fetcher(self, version: str) -> Fetch:
        """Ask the file system."""
        system, path = _system(self.url)
        return lambda start, stop: system.cat_file(path, start=start, end=stop)


@dataclass(frozen=True)
class SystemFolder(AddressedFolder):
    """A folder by its URL."""

    @property
    def name(self) -> str:
        """The URL without a password."""
        return _shown(self.url)

    def files(self) -> Mapping[str, int]:
        """Return the files right in it by name, and their sizes in bytes."""
        found = (one for one in _listed(self.url) if one[1] == "file")
        return {name: size for name, _, size in found}

    def folders(self) -> tuple[str, ...]:
        """Return the names of the folders right in it."""
        return tuple(sorted(name for name, kind, _ in _listed(self.url) if kind == "directory"))

    def has_file(self, name: str) -> bool:
        """Say whether a file of that name is right in it."""
        return name in self.files()

    def within(self, name: str) -> SystemFolder:
        """Return a folder right in it."""
        return SystemFolder(_below(self.url, name))

    def above(self) -> SystemFolder:
        """Return the folder that it is in."""
        return SystemFolder(self.url.rstrip("/").rpartition("/")[0])

    def called(self, name: str) -> str:
        """Return the file's URL without a password."""
        return _shown(_below(self.url, name))

    def source(self, name: str) -> Source:
        """Return a file by its ranges; see `Folder`."""
        size = self.files().get(name)
        if size is None:
            raise BadFile(f"{self.called(name)}: there is no such file")
        return RemoteFile(SystemFile(_below(self.url, name)), size, "")


def split(url: str) -> tuple[SystemFolder, str]:
    """Return the folder of a URL and the file in it; no file where it is a folder itself."""
    whole = url.rstrip("/")
    above, _, last = whole.rpartition("/")
    if not above.endswith((":/", ":")) and SystemFolder(above).has_file(last):
        return SystemFolder(above), last
    return SystemFolder(whole), ""


@lru_cache(maxsize=64)
def _listed(url: str) -> tuple[tuple[str, str, int], ...]:
    if offline():
        raise BadFile(f"{_shown(url)}: offline, and only the hub's files are kept in a cache")
    logger.info("asking for %s", _shown(url))
    system, path = _system(url)
    try:
        found = system.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except (OSError, ValueError) as error:
        raise BadFile(f"{_shown(url)}: {error}") from error
    return tuple(
        (one["name"].rstrip("/").rpartition("/")[2], one["type"], int(one["size"] or 0))
        for one in found
    )


def _system(url: str) -> tuple[Any, str]:
    fsspec = require("fsspec", "remote", _shown(url))
    try:
        system, path = fsspec.url_to_fs(url)
    except ImportError as error:
        raise MissingExtra(f"{_shown(url)}: {error}") from error
    except (OSError, ValueError) as error:
        raise BadFile(f"{_shown(url)}: {error}") from error
    return system, str(path)


def _below(url: str, name: str) -> str:
    return f"{url.rstrip('/')}/{name}"


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
