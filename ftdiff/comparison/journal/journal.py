"""The outcomes of a run as they come, kept for another run that asks the same of the same bytes.

An outcome is of a piece of work. A piece that has `tiles` may be kept in any ranges of them, since
sums over tiles add up to the same bits however they were cut.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from ftdiff.comparison.journal import ranges, values
from ftdiff.comparison.journal.database import Damaged, Database, Failed, Row
from ftdiff.comparison.journal.keys import Keys, Unkeyed
from ftdiff.errors import FtdiffError

P = TypeVar("P")

#: Outcomes that are written together, and the seconds after which fewer are.
BATCH, PATIENCE = 64, 1.0


class Journal:
    """What is kept of a run.

    Parameters
    ----------
    database
        Where; None keeps nothing.
    failed
        Called once, when the database cannot be read or written any more; nothing is kept then.
    say
        Called with how much of what is asked was there.
    """

    def __init__(
        self,
        database: Database | None,
        failed: Callable[[Exception], None],
        say: Callable[[str], None],
    ) -> None:
        self._database, self._failed, self._say = database, failed, say
        self._keys = Keys()
        self._rows: list[Row] = []
        self._mine: set[bytes] = set()
        self._written = time.monotonic()
        self._whole = 0
        self._waiting: Counter[str] = Counter()
        self._names, self._unit = 0, ("", "")
        self._said = False

    def key(self, *asked: Any) -> bytes | None:
        """Return what something is kept under; None for what cannot be known again."""
        try:
            return self._keys.of(*asked) if self._database is not None else None
        except (Unkeyed, FtdiffError):  # a file that has changed is said by whoever reads it
            return None

    def find(self, key: bytes | None) -> list[tuple[int, int, Any]]:
        """Return the outcomes that are kept under a key, by their ranges of tiles."""
        if key is None or self._database is None:
            return []
        try:
            kept = self._database.find(key)
            return [(first, last, values.outcome(text)) for first, last, text in kept]
        except (Damaged, Failed, ValueError, LookupError, TypeError) as error:
            self._lose(error)
            return []

    def add(self, key: bytes | None, first: int, last: int, outcome: Any) -> bool:
        """Keep an outcome, unless it is a complaint, and say whether it is; many are written at a
        time.
        """
        if key is None or self._database is None or isinstance(outcome, str):
            return False
        try:
            self._rows.append((key, first, last, values.text(outcome)))
        except values.Unkept:
            return False
        self._mine.add(key)
        if len(self._rows) >= BATCH or time.monotonic() - self._written > PATIENCE:
            self.flush()
        return True

    def flush(self) -> None:
        """Write what waits to be written."""
        rows, self._rows = self._rows, []
        self._written = time.monotonic()
        if not rows or self._database is None:
            return
        try:
            self._database.add(rows)
        except (Damaged, Failed) as error:
            self._lose(error)

    def close(self) -> bool:
        """Write what waits, and close the file; return whether there is nothing in it."""
        self.flush()
        if self._database is None:
            return False
        empty = self._database.is_empty
        self._database.close()
        return empty

    def _lose(self, error: Exception) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
            self._failed(error)

    def is_earlier(self, key: bytes | None) -> bool:
        """Whether what is kept under a key was measured by an earlier run, not by this one."""
        return key not in self._mine

    def begin(
        self,
        names: set[str],
        waiting: Counter[str],
        phase: str,
        *,
        told: bool = True,
        unit: tuple[str, str] = ("tensor", "tensors"),
    ) -> None:
        """Take the names of what a phase is of, and how many pieces of each are not kept yet.

        What is kept is said if it is to be `told`: it is of an earlier run. `unit` is what a name
        is of, one and several.
        """
        self._unit = unit
        self._names, self._waiting = len(names) + self._whole, waiting
        kept, self._whole = self._names - len(waiting), 0
        if kept and told and self._database is not None and (waiting or not self._said):
            self._said = True
            self._say(f"{self._told(kept)} from an earlier run ({phase}); --fresh measures all")

    def whole(self, count: int) -> None:
        """Take how many tensors are kept whole, and are no pieces of the next phase."""
        self._whole = count

    def done(self, name: str) -> None:
        """Take that an outcome of that name is kept."""
        self._waiting[name] -= 1
        if self._waiting[name] <= 0:
            del self._waiting[name]

    @property
    def progress(self) -> str:
        """How many of the tensors are kept; "" where nothing is."""
        kept = self._names - len(self._waiting)
        return self._told(kept) if kept > 0 and self._database is not None else ""

    def _told(self, kept: int) -> str:
        one = kept == 1
        of = f"{self._names:,} {self._unit[self._names != 1]}"
        return f"{kept:,} of {of} {'is' if one else 'are'} kept"


class Asked(Generic[P]):
    """Tasks of a phase: which outcomes are kept, which are left, and keeping these as they come.

    A piece is kept under itself, or under what it says that it has `asked`, by its `tiles`; not at
    all where that is None. One that has been `looked_up` is not kept yet.
    """

    def __init__(
        self,
        journal: Journal,
        measure: Callable[[P], Any],
        tasks: Sequence[Sequence[P]],
        name: Callable[[P], str],
        phase: str,
    ) -> None:
        self._journal, self._name = journal, name
        self._pieces = [piece for task in tasks for piece in task]
        self._places = {id(piece): self._place(measure, piece) for piece in self._pieces}
        self._kept: dict[int, Any] = {}
        earlier = False
        for piece in self._pieces:
            if getattr(piece, "looked_up", False):
                continue
            key, first, last = self._places[id(piece)]
            for start, stop, outcome in journal.find(key):
                if (start, stop) == (first, last):
                    self._kept[id(piece)] = outcome
                    earlier |= journal.is_earlier(key)
        self.left = [[p for p in task if id(p) not in self._kept] for task in tasks]
        self.left = [task for task in self.left if task]
        names = {name(piece) for piece in self._pieces}
        waiting = Counter(name(piece) for task in self.left for piece in task)
        told = earlier or not self._kept  # those that are kept whole are of an earlier run
        journal.begin(names, waiting, phase, told=told)

    def _place(self, measure: Callable[[P], Any], piece: P) -> tuple[bytes | None, int, int]:
        tiles = getattr(piece, "tiles", range(0))
        asked = getattr(piece, "asked", piece)
        key = None if asked is None else self._journal.key(measure, asked)
        return key, tiles.start, tiles.stop

    def keep(self, piece: P, outcome: Any) -> None:
        """Keep the outcome of a piece that was left."""
        if self._journal.add(*self._places[id(piece)], outcome):
            self._journal.done(self._name(piece))

    def together(self, found: Sequence[Any]) -> list[Any]:
        """Put the outcomes of what was left, in their order, among those that were kept."""
        fresh = iter(found)
        kept = self._kept
        return [kept[id(p)] if id(p) in kept else next(fresh) for p in self._pieces]


def parts(
    journal: Journal, measure: Callable[..., Any], asked: Any, tiles: int
) -> tuple[list[Any], list[range]]:
    """Return the kept outcomes of ranges of a thing's tiles, and which of them are missing."""
    kept = ranges.chosen(journal.find(journal.key(measure, asked)), tiles)
    return [outcome for _, _, outcome in kept], ranges.missing(kept, tiles)
