"""Repositories of the hub: names, sizes and hashes by huggingface_hub, whose cache comes first.

What a token is, which endpoint is asked, and whether the network may be asked at all, is its own:
HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import responses
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ftdiff.errors import BadFile, require
from ftdiff.formats.folder import LocalFolder
from ftdiff.formats.remote.asking import logger, offline
from ftdiff.formats.remote.ranges import Fetch, RemoteFile, in_store, options, retries
from ftdiff.tensors import Source, local


@dataclass(frozen=True)
class Repository:
    """A repository of models, at a revision as the user named it.

    Attributes
    ----------
    id
        "Qwen/Qwen2.5-7B".
    revision
        A branch, a tag or a commit; "" for the default branch.
    """

    id: str
    revision: str = ""

    @property
    def name(self) -> str:
        """As it is written: `hf://org/name@revision`."""
        return f"hf://{self.id}" + (f"@{quote(self.revision, safe='')}" if self.revision else "")


@dataclass(frozen=True)
class HubFile:
    """Where a file of a repository is; a `Location`."""

    repository: Repository
    commit: str
    path: str

    @property
    def name(self) -> str:
        """The repository and the path in it."""
        return f"{self.repository.name}/{self.path}"

    def fetcher(self, version: str) -> Fetch:
        """Ask the place that the hub names for this commit's file; the token is not sent there."""
        hub = _library(self.name)
        stores = require("obstore.store", "hub", self.name)
        url = hub.hf_hub_url(self.repository.id, self.path, revision=self.commit)
        try:
            place = hub.get_hf_file_metadata(url, retry_on_errors=True).location
        except _failures(hub) as error:
            raise BadFile(f"{self.name}: {_words(error)}") from error
        told: dict[str, str] = {}
        if urlsplit(place)[:2] == urlsplit(url)[:2]:  # the hub itself gives the bytes
            told = {k: v for k, v in hub.utils.build_hf_headers().items() if k == "authorization"}
        store = stores.HTTPStore(place, client_options=options(told), retry_config=retries())
        return in_store(store, "", self.name)


@dataclass(frozen=True)
class HubFolder:
    """A folder of a repository, at the commit that its revision meant when it was opened.

    Attributes
    ----------
    repository, commit
        What was asked for, and what that was.
    inside
        The folder's path in the repository; "" for its root.
    held
        Path, bytes and version of every file of the repository.
    """

    repository: Repository
    commit: str
    inside: str = ""
    held: Mapping[str, tuple[int, str]] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """The repository, and the folder in it."""
        return self.repository.name + (f"/{self.inside}" if self.inside else "")

    @property
    def is_local(self) -> bool:
        """False."""
        return False

    def files(self) -> Mapping[str, int]:
        """Return the files right in it by name, and their sizes in bytes."""
        found = ((self._below(path), size) for path, (size, _) in self.held.items())
        return {name: size for name, size in found if name and "/" not in name}

    def folders(self) -> tuple[str, ...]:
        """Return the names of the folders right in it."""
        below = (self._below(path) for path in self.held)
        return tuple(sorted({name.partition("/")[0] for name in below if "/" in name}))

    def has_file(self, name: str) -> bool:
        """Say whether a file of that name is right in it."""
        return self._path(name) in self.held

    def has_folder(self, name: str) -> bool:
        """Say whether a folder of that name is right in it."""
        return any(path.startswith(f"{self._path(name)}/") for path in self.held)

    def above(self) -> HubFolder:
        """Return the folder that it is in; the repository's root is in none."""
        inside = self.inside.rpartition("/")[0]
        return HubFolder(self.repository, self.commit, inside, self.held)

    def called(self, name: str) -> str:
        """Return the repository and the path in it."""
        return f"{self.name}/{name}"

    def within(self, name: str) -> HubFolder:
        """Return a folder right in it."""
        return HubFolder(self.repository, self.commit, self._path(name), self.held)

    def read(self, name: str, limit: int) -> bytes:
        """Return a small file whole, by way of the hub's cache; see `Folder`."""
        path = self._path(name)
        size, _ = self._known(path)
        if size > limit:
            raise BadFile(f"{self.name}/{name}: {size} bytes is too large for a configuration")
        hub = _library(self.name)
        try:
            cached = hub.hf_hub_download(self.repository.id, path, revision=self.commit)
            return Path(cached).read_bytes()
        except _failures(hub) as error:
            raise BadFile(f"{self.name}/{name}: {_words(error)}") from error

    def source(self, name: str) -> Source:
        """Return a file: the cache's where it is there, else its ranges; see `Folder`."""
        path = self._path(name)
        size, version = self._known(path)
        hub = _library(self.name)
        cached = hub.try_to_load_from_cache(self.repository.id, path, revision=self.commit)
        if isinstance(cached, str):
            return local(cached)
        return RemoteFile(HubFile(self.repository, self.commit, path), size, version)

    def _below(self, path: str) -> str:
        if not self.inside:
            return path
        return path.removeprefix(f"{self.inside}/") if path.startswith(f"{self.inside}/") else ""

    def _path(self, name: str) -> str:
        return f"{self.inside}/{name}" if self.inside else name

    def _known(self, path: str) -> tuple[int, str]:
        if path not in self.held:
            raise BadFile(f"{self.repository.name}: no {path} in it")
        return self.held[path]


@lru_cache(maxsize=32)
def open_(repository: Repository) -> HubFolder | LocalFolder:
    """Ask the hub what a repository holds; the cache where the network may not be asked.

    Raises
    ------
    BadFile
        There is none of that name or revision, it is gated, or nothing answers.
    MissingExtra
        huggingface_hub is not installed.
    """
    hub = _library(repository.name)
    wanted = repository.revision or None
    if offline() or hub.constants.HF_HUB_OFFLINE:
        return _cached(hub, repository, "offline")
    host = urlsplit(hub.constants.ENDPOINT).hostname
    logger.info("asking %s for %s", host, repository.name.removeprefix("hf://"))
    try:
        info = hub.HfApi().model_info(repository.id, revision=wanted, files_metadata=True)
    except _failures(hub) as error:
        if getattr(error, "response", None) is None:  # nobody answered: what is there is used
            return _cached(hub, repository, f"{host} does not answer ({_words(error)})")
        raise BadFile(_refusal(hub, repository, error)) from error
    held = {}
    for file in info.siblings or []:
        large = getattr(file, "lfs", None)
        version = f"sha256:{large.sha256}" if large is not None else f"git:{file.blob_id}"
        held[str(file.rfilename)] = int(file.size or 0), version
    return HubFolder(repository, str(info.sha), "", held)


def _failures(hub: Any) -> tuple[type[Exception], ...]:
    """Return what the hub's library raises: its own errors, and those of how it speaks HTTP."""
    clients = (sys.modules.get(name) for name in ("httpx2", "httpx"))
    spoken = tuple(client.HTTPError for client in clients if client is not None)
    return hub.errors.HfHubHTTPError, OSError, ValueError, *spoken


def _library(name: str) -> Any:
    """Import huggingface_hub with the parts that it does not import by itself."""
    for part in ("constants", "errors", "utils"):
        require(f"huggingface_hub.{part}", "hub", name)
    return require("huggingface_hub", "hub", name)


def _cached(hub: Any, repository: Repository, why: str) -> LocalFolder:
    """Return the snapshot of a revision that is in the cache."""
    try:
        found = hub.snapshot_download(
            repository.id, revision=repository.revision or None, local_files_only=True
        )
    except _failures(hub) as error:
        raise BadFile(
            f"{repository.name}: {why}, and it is not in the cache; a folder is written "
            f"./{repository.id}"
        ) from error
    return LocalFolder(Path(found))


def _refusal(hub: Any, repository: Repository, error: Exception) -> str:
    """Say what the hub refused, and the way out."""
    errors, name = hub.errors, repository.name
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{name}: gated; ask for access on {_page(hub, repository)} and log in (hf auth login, "
            "or HF_TOKEN)"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{name}: no revision {repository.revision!r}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{name}: no such repository, or a private one: log in (hf auth login, or HF_TOKEN); a "
            f"folder is written ./{repository.id}"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 429:
        return f"{name}: too many requests; try again later, or log in (hf auth login)"
    return f"{name}: {_words(error)}"


def _page(hub: Any, repository: Repository) -> str:
    return f"{hub.constants.ENDPOINT}/{repository.id}"


def _words(error: Exception) -> str:
    """Return an error in one line, without the address that a signature may be in."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "://" not in line and not line.startswith("(Request ID")]
    status = getattr(getattr(error, "response", None), "status_code", None)
    text = " ".join(told)[:300] or responses.get(status or 0, type(error).__name__)
    return f"{status}: {text}" if status and str(status) not in text else text
