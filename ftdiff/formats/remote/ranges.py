"""`RemoteFile`: a source whose bytes are fetched by ranges, each when it is asked for.

What will be asked for can be told beforehand (`RemoteFile.expect`): neighbours are then fetched
together, and nothing else is.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any, Protocol, TypeAlias

from ftdiff.errors import BadFile, require
from ftdiff.formats.remote.blocks import Blocks

#: Bytes that are fetched from the beginning of a file for its header, in one request.
HEAD = 128 << 10
#: How often a range is asked for again after an answer that may change, and the first wait.
_TRIES, _WAIT = 5, 0.5
#: Seconds for which a file is not asked for again, after a range was given up.
_REST = 60.0


#: Returns the bytes from a start to a stop, as anything that a memoryview takes.
Fetch: TypeAlias = Callable[[int, int], Any]


class Location(Hashable, Protocol):
    """Where a remote file is: small, frozen, and the same on every worker."""

    @property
    def name(self) -> str:
        """As the user named it, for people."""

    def fetcher(self, version: str) -> Fetch:
        """Return what fetches a range of that version, with what it needs to be let in."""


@dataclass(frozen=True)
class RemoteFile:
    """A remote file of known size and version.

    Attributes
    ----------
    location
        Where it is.
    size
        Its bytes.
    version
        Its hash, or what the server calls its version.
    """

    location: Location
    size: int
    version: str

    @property
    def name(self) -> str:
        """As the user named it."""
        return self.location.name

    @property
    def is_local(self) -> bool:
        """False."""
        return False

    @property
    def identity(self) -> Hashable:
        """A hash of the contents is the same wherever the file is; else the place and version."""
        if self.version.startswith(("sha256:", "git:")):
            return self.version
        return (self.location, self.version) if self.version else (self.location, self.size)

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        """Fetch neighbours among these bytes together; see `Source`."""
        wanted = [(max(start, HEAD), stop) for start, stop in spans if stop > HEAD]
        if (before := _EXPECTED.pop(self, None)) is not None:
            before.close()
        if wanted:
            _EXPECTED[self] = Blocks(wanted, lambda start, stop: _fetch(self, start, stop))

    @contextmanager
    def lend(self, start: int, stop: int) -> Iterator[memoryview]:
        """Fetch a range, and lend it; see `Source`.

        Raises
        ------
        BadFile
            The server does not answer, refuses, or gives other bytes than were asked for.
        """
        if stop <= start:
            yield memoryview(b"")
            return
        head = min(HEAD, self.size)
        if stop <= head:
            yield memoryview(_head(self))[start:stop]
        elif start < head:
            yield memoryview(b"".join((_head(self)[start:], self._beyond(head, stop))))
        else:
            yield self._beyond(start, stop)

    def _beyond(self, start: int, stop: int) -> memoryview:
        """Return a range behind the head."""
        expected = _EXPECTED.get(self)
        held = expected.lend(start, stop) if expected is not None else None
        return _fetch(self, start, stop) if held is None else held


#: What is expected of a file on this machine; the latest call of `expect` decides.
_EXPECTED: dict[RemoteFile, Blocks] = {}


#: Until when a file is not asked for again, and why.
_GIVEN_UP: dict[RemoteFile, tuple[float, str]] = {}


@lru_cache(maxsize=256)
def _head(file: RemoteFile) -> bytes:
    return bytes(_fetch(file, 0, min(HEAD, file.size)))


def _fetch(file: RemoteFile, start: int, stop: int) -> memoryview:
    until, why = _GIVEN_UP.get(file, (0.0, ""))
    if time.monotonic() < until:  # one range has waited for all of them
        raise BadFile(why)
    for attempt in range(_TRIES):
        try:
            turn = _TURNS.get(file.location, 0)
            fetch = _opened(file, turn)
            held = memoryview(_interruptibly(partial(fetch, start, stop)))
        except _failures() as error:
            if attempt + 1 == _TRIES or not _passing(error):
                why = f"{file.name}: {words(error)}"
                _GIVEN_UP[file] = time.monotonic() + _REST, why
                raise BadFile(why) from error
            time.sleep(_WAIT * 2**attempt)
            _TURNS[file.location] = turn + 1
            continue
        if held.nbytes != stop - start:
            raise BadFile(f"{file.name}: {held.nbytes} bytes came where {stop - start} were asked")
        return held.toreadonly()
    raise AssertionError("every try returns or raises")


def _interruptibly(call: Callable[[], Any]) -> Any:
    """Call, of the main thread in another one: obstore hears of an interrupt when it is done."""
    if threading.current_thread() is not threading.main_thread():
        return call()
    other = ThreadPoolExecutor(1)
    try:
        return next(iter(other.map(lambda _: call(), (None,))))
    finally:
        other.shutdown(wait=False)


#: How often what fetches a file was given up for another: a signature is good for a time only.
_TURNS: dict[Location, int] = {}


@lru_cache(maxsize=256)
def _opened(file: RemoteFile, turn: int) -> Fetch:
    """Return what fetches in a file's turn."""
    return file.location.fetcher(file.version)


def in_store(store: Any, path: str, name: str, version: str = "") -> Fetch:
    """Return what fetches ranges of a path in a store of obstore's, of that version if named."""
    obstore = require("obstore", "hub", name)

    def fetch(start: int, stop: int) -> Any:
        found = obstore.get(store, path, options={"range": (start, stop)})
        if version and found.meta["e_tag"] not in (version, None):
            raise BadFile(f"{name}: changed since it was opened; compare again")
        return found.bytes()

    return fetch


def _failures() -> tuple[type[Exception], ...]:
    """Return what is raised where a range does not come."""
    obstore = sys.modules.get("obstore")
    return (OSError,) if obstore is None else (OSError, obstore.exceptions.BaseError)


def _passing(error: Exception) -> bool:
    """Say whether an answer may be another one later: too many requests, a signature out of date.

    obstore tries again by itself after 5xx and cut bodies.
    """
    text = str(error)
    return any(code in text for code in ("429", "403", "Forbidden", "Too Many"))


def words(error: Exception) -> str:
    """Return an error of obstore's in one line, without the query of an address: a signature."""
    if "Range request not supported" in str(error):
        return "its server gives whole files only; download it, and name the file"
    text = " ".join(str(error).split("\n\nDebug source")[0].split())
    return re.sub(r"(https?://[^\s?]+)\?\S*", r"\1", text)[:300]


def options(headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Return how a client of obstore's behaves: http too, a stalled read is given up."""
    told: dict[str, Any] = {
        "allow_http": True,
        "connect_timeout": timedelta(seconds=10),
        "read_timeout": timedelta(seconds=30),
        "timeout": timedelta(minutes=10),
    }
    return told | ({"default_headers": headers} if headers else {})


def retries() -> dict[str, Any]:
    """Return how often and how long obstore tries again."""
    return {
        "max_retries": 6,
        "retry_timeout": timedelta(minutes=3),
        "backoff": {"init_backoff": timedelta(milliseconds=200), "base": 2},
    }
