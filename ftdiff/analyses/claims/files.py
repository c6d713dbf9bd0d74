"""Both sides of a claim as they lie here: opened once, hashed and measured as far as is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

from ftdiff.analyses.claims import digests, stored
from ftdiff.comparison import engine
from ftdiff.comparison.engine import Sides
from ftdiff.comparison.executors import Workplace
from ftdiff.comparison.progress import Progress
from ftdiff.comparison.result import Diff
from ftdiff.comparison.structure.survey import surveyed
from ftdiff.deltas.recipes import held
from ftdiff.errors import BadCall
from ftdiff.formats import open_stored, place
from ftdiff.tensors import LazyTensor

#: The two sides of a diff, by their part in it.
SIDES = ("base", "tuned")


@dataclass
class Files:
    """Two sides of this machine, and what was taken of them so far.

    Attributes
    ----------
    sides
        Both, opened and paired.
    tensors
        By side, every tensor of its files.
    executor, progress
        As in `ftdiff.compare`.
    """

    sides: Sides
    tensors: Mapping[str, Mapping[str, LazyTensor]]
    executor: Executor | None = None
    progress: Progress | None = None
    _whole: Diff | None = None
    _digests: dict[str, dict[str, str]] = field(default_factory=lambda: {s: {} for s in SIDES})

    @classmethod
    def open_(
        cls,
        base: Any,
        tuned: Any,
        executor: Executor | None = None,
        progress: Progress | None = None,
        *,
        tuned_is_delta: bool = False,
    ) -> Files:
        """Open and pair both sides; no weight is read, but those that pairing samples.

        Raises
        ------
        BadCall
            A side is in memory, on another machine, or missing.
        FtdiffError
            As in `ftdiff.compare`.
        """
        at, other = stored.local(base), stored.local(tuned)
        if at == "-":
            raise BadCall("a claim is about a base and a fine-tune; there is no base")
        sides = engine.paired(at, other, tuned_is_delta=tuned_is_delta)
        assert sides.base is not None
        tensors = {"base": stored.tensors_of(sides.base), "tuned": stored.tensors_of(sides.tuned)}
        return cls(sides, tensors, executor, progress)

    def opened(self, side: str) -> Any:
        """Return a side as it was opened."""
        return self.sides.base if side == "base" else self.sides.tuned

    def digests(self, side: str, names: Iterable[str] | None = None) -> Mapping[str, str]:
        """Return the digests of a side's tensors: of all, or of these; each is taken once."""
        held, known = self.tensors[side], self._digests[side]
        wanted = [n for n in (held if names is None else names) if n in held and n not in known]
        missing = {name: held[name] for name in wanted}
        if missing:
            known |= digests.of_tensors(missing, self.executor, self.progress)
        return known

    def measured(self, names: Collection[str] | None = None) -> Diff:
        """Return the diff of both sides, or what it says of some of its tensors."""
        sides = self.sides
        if names is None:
            if self._whole is None:
                sums = engine.summed(sides, self.executor, self.progress)
                at = Workplace(self.executor, self.progress)
                self._whole = surveyed(sums, sides.plan, at)
            return self._whole
        chosen = tuple(one for one in sides.plan.changes if one.address.name in names)
        sides = replace(sides, plan=replace(sides.plan, changes=chosen))
        return engine.summed(sides, self.executor, self.progress)

    def changed(self) -> list[str]:
        """Return the names of what is measured."""
        return [change.address.name for change in self.sides.plan.changes]

    def behind(self, names: Collection[str]) -> dict[str, set[str]]:
        """Return by side the stored tensors that some changes are made of."""
        places = {
            side: {one.storage: name for name, one in tensors.items() if one.storage is not None}
            for side, tensors in self.tensors.items()
        }
        found: dict[str, set[str]] = {side: set() for side in SIDES}
        for change in self.sides.plan.changes:
            if change.address.name in names:
                for side, of in (("base", change.base), ("tuned", change.recipe)):
                    leaves = {one.storage for one in held.stored(of)} - {None}
                    found[side] |= {places[side][at] for at in leaves if at in places[side]}
        return found

    def facts(self, side: str) -> dict[str, list[Any]]:
        """Return dtype and shape of every tensor of a side, from headers."""
        return {name: stored.facts(name, one)[1:] for name, one in self.tensors[side].items()}


def headers_at(source: Any) -> dict[str, list[Any]]:
    """Return dtype and shape of every tensor at a path, whatever part it has in a diff.

    Raises
    ------
    BadFile
        Nothing there is read.
    """
    opened = open_stored(place.find(stored.local(source)))
    return {name: stored.facts(name, one)[1:] for name, one in opened.tensors.items()}
