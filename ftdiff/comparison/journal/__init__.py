"""What a run has measured, kept beside its result: the next run measures what is missing.

Within `kept`, whatever is run by `ftdiff.comparison.executors` is looked up first, under a digest
of what is asked and of what both sides hold, and kept as its task ends. To have another outcome
kept: its class is a dataclass under `@kept_as`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from ftdiff.comparison.journal import database, writer
from ftdiff.comparison.journal.database import Damaged, Database, Failed, Locked
from ftdiff.comparison.journal.journal import Asked, Journal, parts
from ftdiff.comparison.journal.values import kept_as
from ftdiff.errors import BadCall, BadFile, one_line

__all__ = ["ARITHMETIC", "Asked", "Journal", "current", "kept", "kept_as", "parts"]

#: Raised with any change that measures another number of the same bytes.
ARITHMETIC = 3

_CURRENT: ContextVar[Journal | None] = ContextVar("journal", default=None)


def current() -> Journal | None:
    """Return the journal that outcomes are kept in here; None where they are not."""
    return _CURRENT.get()


@contextmanager
def kept(path: Path, say: Callable[[str], None], *, fresh: bool = False) -> Iterator[None]:
    """Keep what is measured in this block in a file; take from it what an earlier run has kept.

    Parameters
    ----------
    path
        The file, in a folder that this run alone writes into while it lasts.
    say
        Told what was there, what cannot be kept, and, if the run is cut short, how far it came.
    fresh
        Whether what is there is dropped.

    Raises
    ------
    BadCall
        Another run writes there; it is named.
    BadFile
        The folder cannot be written.
    """
    folder = path.parent
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadFile(f"{folder}: cannot be written ({error.strerror or error})") from error

    def failed(error: Exception) -> None:
        if isinstance(error, Failed):
            say(f"{one_line(path)} keeps nothing more ({one_line(error)}); the run goes on")
        else:
            say(f"{_damaged(path)}; the run goes on, and keeps nothing more")

    with _left_clean(folder, made), writer.alone(path.with_suffix(".lock")):
        journal = Journal(_opened(path, say, fresh=fresh), failed, say)
        token = _CURRENT.set(journal)
        try:
            yield
        except BaseException:
            journal.flush()
            if journal.progress:
                say(f"{journal.progress}; the same command goes on")
            raise
        finally:
            _CURRENT.reset(token)
            if journal.close():
                database.remove(path)


@contextmanager
def _left_clean(folder: Path, made: bool) -> Iterator[None]:
    """Remove a folder that was made, if nothing was written into it."""
    try:
        yield
    finally:
        if made:
            with suppress(OSError):  # there is something in it
                folder.rmdir()


def _opened(path: Path, say: Callable[[str], None], *, fresh: bool) -> Database | None:
    try:
        if fresh:
            database.remove(path)
        return Database(path, _version())
    except Locked as error:
        raise BadCall(f"{path}: another run writes it ({one_line(error)})") from error
    except Damaged:
        say(f"{_damaged(path)}, and begun again")
    except (Failed, OSError) as error:
        say(f"{one_line(path)}: nothing is kept ({one_line(error)}); the run goes on")
        return None
    try:
        return Database(path, _version())
    except (Damaged, Failed) as error:
        say(f"{one_line(path)}: nothing is kept ({one_line(error)}); the run goes on")
        return None


def _damaged(path: Path) -> str:
    """Set a damaged journal aside, and say so."""
    try:
        aside = database.set_aside(path)
    except OSError as error:
        return f"{one_line(path)} is damaged ({error.strerror or error})"
    return f"{one_line(path)} is damaged: set aside as {one_line(aside.name)}"


def _version() -> str:
    """Return what numbers rest on beside the bytes."""
    try:
        ours = version("ftdiff")
    except PackageNotFoundError:
        ours = "unknown"
    return f"ftdiff {ours} arithmetic {ARITHMETIC}, numpy {np.__version__}"
