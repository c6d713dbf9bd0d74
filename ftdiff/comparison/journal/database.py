"""The file of a journal: SQLite, a row for each outcome under what was asked, written in batches.

A row is there whole or not at all, and lasts when the process is killed. One process alone opens
the file, and holds its lock until it ends; where other machines may write to the file system (NFS
and its like) a rollback journal stands in for the log that is written ahead, as SQLite asks for.
"""

from __future__ import annotations

import sqlite3
import stat
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from ftdiff.tensors.files import is_shared

#: What was asked, the first and last of its tiles (0 and 0 where it has none), the outcome's text.
Row: TypeAlias = tuple[bytes, int, int, str]
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS outcomes (asked BLOB, first INTEGER, last INTEGER, outcome TEXT, "
    "crc INTEGER, PRIMARY KEY (asked, first, last)) WITHOUT ROWID",
)
_COLUMNS = {
    "about": ["name", "value"],
    "outcomes": ["asked", "first", "last", "outcome", "crc"],
}
#: The file itself, and what SQLite writes beside it.
_FILES = ("", "-wal", "-shm", "-journal")


class Damaged(Exception):
    """The file is not what was written."""


class Failed(Exception):
    """The file cannot be opened, or cannot grow."""


class Locked(Failed):
    """Another process writes it."""


class Database:
    """An open journal.

    Parameters
    ----------
    path
        Of the file, made if there is none.
    version
        What its numbers rest on; rows of another are dropped.

    Raises
    ------
    Damaged, Failed, Locked
        As their words say.
    """

    def __init__(self, path: Path, version: str) -> None:
        self.path = path
        with suppress(OSError):
            if not stat.S_ISREG(path.stat().st_mode):
                raise Failed("it is no regular file")
        try:
            # never waits: a second writer is told at once
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        except sqlite3.Error as error:
            raise _translated(error) from error
        try:
            self._open(version)
        except BaseException:
            self.close()
            raise

    def _open(self, version: str) -> None:
        self._do("PRAGMA locking_mode=EXCLUSIVE")
        self._do(f"PRAGMA journal_mode={'DELETE' if is_shared(self.path) else 'WAL'}")
        self._do("PRAGMA synchronous=NORMAL")
        self._do("BEGIN IMMEDIATE")
        for table in _SCHEMA:
            self._do(table)
        for name, columns in _COLUMNS.items():
            if [row[1] for row in self._do(f"PRAGMA table_info({name})")] != columns:
                raise Damaged  # somebody else's
        held = self._do("SELECT value FROM about WHERE name='version'")
        if held != [(version,)]:
            self._do("DELETE FROM outcomes")
            self._do("INSERT OR REPLACE INTO about VALUES ('version', ?)", (version,))
        self._do("COMMIT")
        if self._do("PRAGMA quick_check(1)") != [("ok",)]:
            raise Damaged

    def find(self, asked: bytes) -> list[tuple[int, int, str]]:
        """Return what is kept of what was asked, by ranges of tiles.

        Raises
        ------
        Damaged, Failed
            The rows cannot be read, or are not those that were written.
        """
        wanted = "SELECT first, last, outcome, crc FROM outcomes WHERE asked=? ORDER BY first"
        found = []
        for first, last, text, crc in self._do(wanted, (asked,)):
            if not isinstance(text, str) or _crc((asked, first, last, text)) != crc:
                raise Damaged
            found.append((first, last, text))
        return found

    def add(self, rows: Iterable[Row]) -> None:
        """Write rows, all of them or none.

        Raises
        ------
        Damaged, Failed
            They cannot be written.
        """
        self._do("BEGIN IMMEDIATE")
        try:
            for row in rows:
                values = (*row, _crc(row))
                self._do("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?)", values)
            self._do("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    @property
    def is_empty(self) -> bool:
        """Whether there is no row, as far as can be read."""
        with suppress(Damaged, Failed):
            return not self._do("SELECT 1 FROM outcomes LIMIT 1")
        return False

    def close(self) -> None:
        """Close the file."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def _do(self, command: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(command, values).fetchall()
        except sqlite3.Error as error:
            raise _translated(error) from error


def remove(path: Path) -> None:
    """Remove a journal and what belongs to it.

    Raises
    ------
    OSError
        It cannot be removed.
    """
    for ending in _FILES:
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).unlink()


def set_aside(path: Path) -> Path:
    """Give a damaged journal another name, and return that.

    Raises
    ------
    OSError
        It cannot be renamed.
    """
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    remove(path)
    return aside


def _crc(row: Row) -> int:
    asked, first, last, text = row
    return zlib.crc32(f"{first} {last} {text}".encode(), zlib.crc32(asked))


def _translated(error: sqlite3.Error) -> Exception:
    said = str(error)
    if isinstance(error, sqlite3.OperationalError | sqlite3.NotSupportedError):
        return Locked(said) if "locked" in said else Failed(said)
    return Damaged(said) if isinstance(error, sqlite3.DatabaseError) else Failed(said)
