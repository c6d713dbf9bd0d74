"""Files of web servers and object stores, by their address; obstore knows how each is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ftdiff.errors import BadFile, require
from ftdiff.formats.remote.addressed import AddressedFolder
from ftdiff.formats.remote.asking import logger, offline
from ftdiff.formats.remote.ranges import Fetch, RemoteFile, in_store, options, retries, words
from ftdiff.tensors import Source

WEB = ("https", "http")
#: Object stores, whose keys are obstore's business (environment, instance roles).
BUCKETS = ("s3", "s3a", "gs", "az", "abfs", "abfss", "azure")
SCHEMES = (*WEB, *BUCKETS)


@dataclass(frozen=True)
class UrlFile:
    """A file at an address; a `Location`."""

    url: str

    @property
    def name(self) -> str:
        """The address without its query, in which a signature may be."""
        return _shown(self.url)

    def fetcher(self, version: str) -> Fetch:
        """Ask the address itself, and hold what the server calls the version against it."""
        return in_store(*self.store(), self.name, version)

    def store(self) -> tuple[Any, str]:
        """Return a store of the file's own address, query and all."""
        stores = require("obstore.store", "remote", self.name)
        parts = urlsplit(self.url)
        if parts.scheme in WEB:
            return _made(stores.HTTPStore, self.url), ""
        root = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        return _bucket(stores, root), parts.path.lstrip("/")


@dataclass(frozen=True)
class UrlFolder(AddressedFolder):
    """What lies beside a file at an address, or below a prefix of a bucket.

    A web server does not tell what it holds: of one, only names that are asked for are known.
    """

    @property
    def name(self) -> str:
        """The address without its query."""
        return _shown(self.url)

    def files(self) -> Mapping[str, int]:
        """Return the files right in it, where it can be listed; none of a web server."""
        return {name: size for name, size in _listed(self.url) if "/" not in name}

    def folders(self) -> tuple[str, ...]:
        """Return the names of the folders right in it, where it can be listed."""
        return tuple(sorted({n.partition("/")[0] for n, _ in _listed(self.url) if "/" in n}))

    def has_file(self, name: str) -> bool:
        """Say whether a file of that name is right in it: a web server is asked for its head."""
        if urlsplit(self.url).scheme in WEB:
            return _head(_beside(self.url, name)) is not None
        return name in self.files()

    def above(self) -> UrlFolder:
        """Return the folder that it is in; a host's root is in none."""
        path = urlsplit(self.url).path.rstrip("/").rpartition("/")[0]
        return UrlFolder(urlunsplit(urlsplit(self.url)._replace(path=f"{path}/")))

    def called(self, name: str) -> str:
        """Return the file's address without the query."""
        return _shown(_beside(self.url, name))

    def within(self, name: str) -> UrlFolder:
        """Return a folder right in it."""
        return UrlFolder(_beside(self.url, f"{name}/"))

    def source(self, name: str) -> Source:
        """Return a file by its ranges, its size and version asked for; see `Folder`."""
        location = UrlFile(_beside(self.url, name))
        found = _head(location.url)
        if found is None:
            raise BadFile(f"{location.name}: there is no such file")
        return RemoteFile(location, *found)


def split(url: str) -> tuple[UrlFolder, str]:
    """Return the folder of an address, and the file in it; no file where it ends with a slash."""
    parts = urlsplit(url)
    path, _, file = parts.path.rpartition("/")
    return UrlFolder(urlunsplit(parts._replace(path=f"{path}/"))), file


@lru_cache(maxsize=256)
def _head(url: str) -> tuple[int, str] | None:
    """Return a file's size and version; None where there is none.

    Raises
    ------
    BadFile
        The server refuses or does not answer, or the network may not be asked.
    """
    location = UrlFile(url)
    obstore = require("obstore", "remote", location.name)
    if offline():
        raise BadFile(f"{location.name}: offline, and only the hub's files are kept in a cache")
    logger.info("asking %s for %s", urlsplit(url).hostname, location.name)
    try:
        store, path = location.store()
        found = obstore.head(store, path)
    except FileNotFoundError:
        return None
    except obstore.exceptions.BaseError as error:
        raise BadFile(f"{location.name}: {words(error)}") from error
    return int(found["size"]), str(found["e_tag"] or "")


@lru_cache(maxsize=32)
def _listed(url: str) -> tuple[tuple[str, int], ...]:
    parts = urlsplit(url)
    if parts.scheme in WEB:
        return ()
    obstore = require("obstore", "remote", _shown(url))
    if offline():
        raise BadFile(f"{_shown(url)}: offline, and only the hub's files are kept in a cache")
    logger.info("asking for %s", _shown(url))
    stores = require("obstore.store", "remote", _shown(url))
    store = _bucket(stores, urlunsplit((parts.scheme, parts.netloc, "", "", "")))
    prefix = parts.path.lstrip("/")
    try:
        found = [one for chunk in obstore.list(store, prefix.rstrip("/")) for one in chunk]
    except obstore.exceptions.BaseError as error:
        raise BadFile(f"{_shown(url)}: {words(error)}") from error
    return tuple((one["path"].removeprefix(prefix), int(one["size"])) for one in found)


def _bucket(stores: Any, root: str) -> Any:
    return _made(stores.from_url, root)


def _made(make: Callable[..., Any], address: str) -> Any:
    """Make a store of obstore's.

    Raises
    ------
    BadFile
        The address is none, or keys that it wants are not there.
    """
    obstore = require("obstore", "remote", _shown(address))
    try:
        return make(address, client_options=options(), retry_config=retries())
    except (ValueError, obstore.exceptions.BaseError) as error:
        raise BadFile(
            f"{_shown(address)}: no address that is understood: {words(error)}"
        ) from error


def _beside(url: str, name: str) -> str:
    """Return the address of a file in a folder's; the query goes along, as a signature does."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rpartition('/')[0]}/{name}"))


def _shown(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host, query="", fragment=""))
