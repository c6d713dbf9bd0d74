"""What a fine-tune changes in a model that runs: ΔW of our own recipes, by parameter."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ftdiff.analyses.live_model.opening import Live
from ftdiff.comparison.plan import Change, Plan
from ftdiff.deltas.recipes import Beside, Unreadable
from ftdiff.errors import Mismatch, one_line, require
from ftdiff.formats import Checkpoint
from ftdiff.naming.matching import pair_names
from ftdiff.tensors import LazyTensor, Rows, numel

#: The least share of either side that has to be written into the model.
LEAST = 0.99
#: The share of the memory that is free, and of the least that is taken to be, in which W and ΔW
#: are held; of more, each is made again when it is wanted.
_SHARE, _LEAST_FREE = 0.5, 8 << 30


@dataclass(frozen=True)
class Piece:
    """One parameter that moves.

    Attributes
    ----------
    name
        The parameter's first name.
    base_name
        What the base's file calls it.
    change
        The base's tensor and the recipe; both may be of the first rows alone.
    """

    name: str
    base_name: str
    change: Change

    @property
    def rows(self) -> int | None:
        """How many first rows of the parameter it is of; None for all."""
        return self.change.base.count if isinstance(self.change.base, Rows) else None


@dataclass(frozen=True, eq=False)
class Changes:
    """Every parameter that moves, and where the model stands between W0 and W0 + ΔW.

    Attributes
    ----------
    live
        The model.
    pieces
        By parameter name.
    notes
        What was left out, in sentences.
    coverage
        The share of the changes' entries that is written into the model.
    room
        Bytes of W and ΔW that are held in memory, beside the model's own.
    """

    live: Live
    pieces: Mapping[str, Piece]
    notes: tuple[str, ...] = ()
    coverage: float = 1.0
    room: float = field(default_factory=lambda: _SHARE * max(_LEAST_FREE, _free()))
    _held: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    _at: dict[str, float] = field(default_factory=dict)

    def __iter__(self) -> Iterator[str]:
        return iter(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)

    def delta(self, name: str) -> Any:
        """Return ΔW of a parameter as a float32 tensor on the model's device."""
        return self._sides(name)[1].to(self.live.device)

    def start(self, name: str) -> Any:
        """Return W0 of a parameter in the model's dtype, as its file has it."""
        return self._sides(name)[0].to(self.live.device)

    def now(self, name: str) -> float:
        """Return t, where the parameter is W0 + t·ΔW."""
        return self._at.get(name, 0.0)

    def put(self, name: str, t: float) -> None:
        """Set a parameter to W0 + t·ΔW, added in float64 and rounded once; the same bits always."""
        if self.now(name) == t:
            return
        torch = require("torch", "models", "a model that runs")
        start, delta = self.start(name), self.delta(name)
        with torch.no_grad():
            target = self.live.parameters()[name].data[: self.pieces[name].rows]
            moved = (start.double() + t * delta.double()).to(start.dtype) if t else start
            target.copy_(moved)
        self._at[name] = t

    def _sides(self, name: str) -> tuple[Any, Any]:
        if name in self._held:
            return self._held[name]
        sides = read(self.live, self.pieces[name].change)
        self.hold(name, sides)
        return sides

    def hold(self, name: str, sides: tuple[Any, Any]) -> None:
        """Keep W0 and ΔW of a parameter, while there is room for them."""
        taken = sum(a.nbytes + b.nbytes for a, b in self._held.values())
        if taken + sum(side.nbytes for side in sides) < self.room:
            self._held[name] = sides


def read(live: Live, change: Change) -> tuple[Any, Any]:
    """Read W0 in the model's dtype and ΔW in float32, into this machine's memory.

    Raises
    ------
    FtdiffError
        One of them cannot be read, or is not finite.
    """
    torch = require("torch", "models", "a model that runs")
    base = change.base
    assert base is not None
    delta = change.recipe.entries(base)(0, numel(base.shape)).reshape(base.shape)
    if not np.isfinite(delta).all():
        raise Mismatch(f"{change.address.name}: its change is not finite")
    W = torch.from_numpy(_values(base)).to(getattr(torch, live.dtype))
    return W, torch.from_numpy(delta.astype(np.float32))


def _free() -> int:
    """Return how many bytes of memory are free; 0 where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def _values(tensor: LazyTensor) -> Any:
    read = tensor.read()
    return read.astype(np.float64 if read.dtype == np.float64 else np.float32)


def changes_of(live: Live, plan: Plan) -> Changes:
    """Say what a fine-tune changes in a model that runs.

    Parameters
    ----------
    live
        The base, opened.
    plan
        The base's file and the fine-tune, as `ftdiff.comparison.plan.pair` paired them.

    Raises
    ------
    Mismatch
        Something of it cannot be written into the parameters: what works beside them, layers that
        are replicated, a tied matrix with two changes; or less than 99 % of it can.
    """
    torch = require("torch", "models", "a model that runs")
    assert plan.base is not None and plan.tuned is not None
    _refuse(plan)
    names = located(live, plan.base)
    pieces: dict[str, Piece] = {}
    made = Changes(live, pieces)
    lost: dict[str, int] = {}
    seen: dict[str, Change] = {}
    for change in plan.changes:
        name = names.get(change.address.name)
        if name is None or not _whole(plan, change):
            lost[change.address.name] = change.size
            continue
        first, parameter = live.named[name]
        W, delta = read(live, change)
        rows = slice(None) if not isinstance(change.base, Rows) else slice(change.base.count)
        held = parameter.data[rows].cpu()
        if held.shape != W.shape or not torch.equal(held, W):
            raise Mismatch(f"{name}: the model that runs holds other values than the base's file")
        if first in seen:
            if not torch.equal(read(live, seen[first])[1], delta):
                raise Mismatch(f"{name} is tied to {first} in the base, and the two change apart")
        elif bool(delta.any()):
            pieces[first] = Piece(first, change.address.name, change)
            made.hold(first, (W, delta))
        seen[first] = change
    return _complete(made, plan, lost)


def _complete(made: Changes, plan: Plan, lost: Mapping[str, int]) -> Changes:
    """Return the changes, once most of both sides is known to be among them."""
    whole = sum(change.size for change in plan.changes)
    coverage = 1 - sum(lost.values()) / whole if whole else 1.0
    if min(coverage, plan.coverage) < LEAST:
        first = next(iter([*lost, *plan.unmatched, *plan.added, *plan.removed]), "")
        example = f" (first left out: {one_line(first, 120)})" if first else ""
        share = 100 * min(coverage, plan.coverage)
        raise Mismatch(f"only {share:.3g}% of the change can be written into the base{example}")
    notes = []
    if lost:
        named = ", ".join([*lost][:3]) + (", …" if len(lost) > 3 else "")
        notes.append(f"{len(lost)} changes are not run ({named})")
    notes += _ties(made, plan)
    return replace(made, notes=tuple(notes), coverage=coverage)


def _ties(made: Changes, plan: Plan) -> Iterator[str]:
    """Say where a change of one of two tied names is run on both."""
    assert plan.tuned is not None
    if plan.tuned.kind == "full":
        return
    for name in made.pieces:
        others = [n for n, (first, _) in made.live.named.items() if first == name and n != name]
        if others:
            tied = ", ".join(others)
            yield f"{name} is tied to {tied}: the change is run on both, as when merged"


def _refuse(plan: Plan) -> None:
    assert plan.tuned is not None
    tuned = plan.tuned
    if tuned.layout:
        raise Mismatch(f"{tuned.source}: its layers are replicas of the base's: not run")
    for name, recipe in tuned.recipes.items():
        if isinstance(recipe, Beside):
            raise Mismatch(
                f"{tuned.source}: {name} works beside the weights: {recipe.why}: not run"
            )
        if isinstance(recipe, Unreadable):
            raise Mismatch(f"{tuned.source}: {name}: {recipe.reason}")


def _whole(plan: Plan, change: Change) -> bool:
    """Say whether a change is of a tensor of the base as it stands, or of its first rows."""
    assert plan.base is not None
    held = change.base.tensor if isinstance(change.base, Rows) else change.base
    return held is not None and held == plan.base.tensors.get(change.address.name)


def located(live: Live, base: Checkpoint) -> dict[str, str]:
    """Return what the model calls each tensor of the base's file; what it has not is left out."""
    found = {name: name for name in base.tensors if name in live.named}
    taken = {*found.values()}
    shapes = {n: tuple(p.shape) for n, (_, p) in live.named.items() if n not in taken}
    wanted = {n: tuple(t.shape) for n, t in base.tensors.items() if n not in found}
    return found | pair_names(shapes, wanted)
