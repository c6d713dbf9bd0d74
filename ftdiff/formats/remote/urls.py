"""Files of web servers and object stores, by their address; obstore knows how each is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ftdiff.errors import BadFile, require
from ftdiff.formats.remote.ranges import RemoteFile, options, retries
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

    def store(self) -> tuple[Any, str]:
        """Return a store of the file's own address, query and all."""
        stores = require("obstore.store", "remote", self.name)
        parts = urlsplit(self.url)
        if parts.scheme in WEB:
            made = stores.HTTPStore(self.url, client_options=options(), retry_config=retries())
            return made, ""
        root = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        return _bucket(stores, root), parts.path.lstrip("/")


@dataclass(frozen=True)
class UrlFolder:
    """What lies beside a file at an address, or below a prefix of a bucket.

    A web server does not tell what it holds: of one, only names that are asked for are known.
    """

    url: str

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

    def within(self, name: str) -> UrlFolder:
        """Return a folder right in it."""
        return UrlFolder(_beside(self.url, f"{name}/"))

    def read(self, name: str, limit: int) -> bytes:
        """Return a small file whole; see `Folder`."""
        source = self.source(name)
        if source.size > limit:
            raise BadFile(f"{source.name}: {source.size} bytes is too large for a configuration")
        with source.lend(0, source.size) as lent:
            return bytes(lent)

    def source(self, name: str) -> Source:
        """Return a file by its ranges, its size and version asked for; see `Folder`."""
        location = UrlFile(_beside(self.url, name))
        obstore = require("obstore", "remote", location.name)
        store, path = location.store()
        try:
            found = obstore.head(store, path)
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            raise BadFile(f"{location.name}: {_words(error)}") from error
        return RemoteFile(location, int(found["size"]), str(found["e_tag"] or ""))


def split(url: str) -> tuple[UrlFolder, str]:
    """Return the folder of an address, and the file in it; no file where it ends with a slash."""
    parts = urlsplit(url)
    path, _, file = parts.path.rpartition("/")
    return UrlFolder(urlunsplit(parts._replace(path=f"{path}/"))), file


@lru_cache(maxsize=32)
def _listed(url: str) -> tuple[tuple[str, int], ...]:
    parts = urlsplit(url)
    if parts.scheme in WEB:
        return ()
    obstore = require("obstore", "remote", _shown(url))
    stores = require("obstore.store", "remote", _shown(url))
    store = _bucket(stores, urlunsplit((parts.scheme, parts.netloc, "", "", "")))
    prefix = parts.path.lstrip("/")
    try:
        found = [one for chunk in obstore.list(store, prefix.rstrip("/")) for one in chunk]
    except obstore.exceptions.BaseError as error:
        raise BadFile(f"{_shown(url)}: {_words(error)}") from error
    return tuple((one["path"].removeprefix(prefix), int(one["size"])) for one in found)


def _bucket(stores: Any, root: str) -> Any:
    return stores.from_url(root, client_options=options(), retry_config=retries())


def _beside(url: str, name: str) -> str:
    """Return the address of a file in a folder's; the query goes along, as a signature does."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rpartition('/')[0]}/{name}"))


def _shown(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host, query="", fragment=""))


def _words(error: Exception) -> str:
    text = " ".join(str(error).split("\n\nDebug source")[0].split())
    return text.partition("?")[0][:300]
