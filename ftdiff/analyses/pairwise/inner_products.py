"""Measure one tensor of many fine-tunes at once: each file is read once, whatever their number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from ftdiff import kernels
from ftdiff.analyses.pairwise.base_rounding import base_rounding_sq
from ftdiff.analyses.pairwise.base_sums import base_sums
from ftdiff.analyses.pairwise.before_rounding import Unrounded, before_rounding, unknown
from ftdiff.analyses.pairwise.line import Line
from ftdiff.analyses.pairwise.opened import Opened
from ftdiff.analyses.pairwise.samples import PROBES, Probe
from ftdiff.analyses.pairwise.stored_changes import from_stored
from ftdiff.comparison.journal import kept_as
from ftdiff.deltas.forms import Delta
from ftdiff.deltas.forms.inner_products import inner_products
from ftdiff.deltas.forms.stacked_factors import all_products, is_wide
from ftdiff.deltas.recipes import Added, Entries, Recipe
from ftdiff.deltas.recipes.stored_factors import StoredFactors
from ftdiff.errors import FtdiffError, attempt
from ftdiff.tensors import Array, matrices, nbytes, numel, precision

#: Entries of all fine-tunes that are held at a time, as float64: so many that calls do not count.
_HELD = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """What is measured beside the inner products.

    Attributes
    ----------
    base
        ‖W‖² and the spacing of its numbers.
    unrounded
        Inner products before rounding; see `before_rounding`.
    probes
        Names of `PROBES`.
    """

    base: bool = False
    unrounded: bool = False
    probes: tuple[str, ...] = ()


@kept_as("together", whole=lambda found: not found.complaints)
@dataclass(frozen=True, eq=False)
class Together:
    """What is known of one tensor of n fine-tunes.

    Attributes
    ----------
    inner
        float64, n × n: ⟨ΔWᵢ, ΔWⱼ⟩ over the entries that are finite; 0 where one leaves the tensor
        as it is, NaN where one is not known.
    nonfinite
        int64, n: entries of each that are not finite.
    base_sq, power_sq
        ‖W‖², and Σ (2^⌊log₂|w|⌋)²: times a dtype's squared spacing at 1, its squared units in the
        last place. NaN where not asked for.
    base_rounding_sq
        float64, n: ‖round(W) − W‖², W rounded to each one's storage dtype; see `base_rounding`.
        None where not asked for.
    unrounded
        Inner products before rounding, estimated; None where not asked for.
    probes
        By probe, arrays by name.
    complaints
        By fine-tune, why its change could not be read.
    """

    inner: Array
    nonfinite: Array
    base_sq: float = float("nan")
    power_sq: float = float("nan")
    base_rounding_sq: Array | None = None
    unrounded: Unrounded | None = None
    probes: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    complaints: Mapping[int, str] = field(default_factory=dict)


def measure(line: Line, asked: Asked) -> Together:
    """Measure one line: on a worker, from paths; no weight travels.

    Changes that have factors are multiplied by each other in closed form, at the factors' price;
    those that are stored, tile by tile from their bytes. Else all are read in float64, some rows at
    a time.
    """
    with np.errstate(all="ignore"):  # what overflows is said, not warned of
        return _measured(line, asked)


def unmeasured(line: Line, asked: Asked, why: str) -> Together:
    """Return what is known of a line that could not be measured: who leaves it as it is."""
    count = len(line.recipes)
    changing = (i for i, recipe in enumerate(line.recipes) if recipe is not None)
    complaints = {i: why for i in changing if i not in line.unknown}
    lost = [*{*line.unknown, *complaints}]
    inner = np.zeros((count, count))
    inner[lost, :] = inner[:, lost] = np.nan
    sums = {name: PROBES[name](line).found() for name in asked.probes}
    probes = {name: _known(found, inner.shape, lost) for name, found in sums.items()}
    before = unknown(count) if asked.unrounded else None
    nonfinite = np.zeros(count, np.int64)
    return Together(inner, nonfinite, unrounded=before, probes=probes, complaints=complaints)


def _measured(line: Line, asked: Asked) -> Together:
    reading = _Reading(line)
    probes = {name: PROBES[name](line) for name in asked.probes}
    inner = reading.closed_form(probed=bool(probes))
    unserved = [p for p in probes.values() if inner is None or not p.of_changes(reading.deltas)]
    stored = from_stored(line, asked.base, unserved) if inner is None else None
    if stored is not None:
        inner, reading.nonfinite, unserved = stored.inner, stored.nonfinite, []
    elif inner is None:
        probes = {name: PROBES[name](line) for name in asked.probes}
        unserved = [*probes.values()]
    if inner is None or unserved:
        inner = reading.entries(unserved, inner)
    for i in np.flatnonzero(~np.isfinite(inner.diagonal())).tolist():
        reading.complaints.setdefault(i, f"{line.address.name}: its squared change overflows")
    for i in {*line.unknown, *reading.complaints}:
        inner[i, :] = inner[:, i] = np.nan
    lost = [*{*line.unknown, *reading.complaints}]
    if stored is not None:
        base_sq, power_sq = stored.base_sq, stored.power_sq
    else:
        base_sq, power_sq = base_sums(line.base if asked.base else None, numel(line.shape))
    rounding_sq = base_rounding_sq(line) if asked.base else None
    before = before_rounding(line, inner) if asked.unrounded else None
    found = {name: _known(probe.found(), inner.shape, lost) for name, probe in probes.items()}
    return Together(
        inner, reading.nonfinite, base_sq, power_sq, rounding_sq, before, found, reading.complaints
    )


def _known(
    sums: Mapping[str, Array], pairs: tuple[int, ...], lost: Sequence[int]
) -> Mapping[str, Array]:
    """Mark what is of pairs with a fine-tune whose change is not known as missing."""
    for array in sums.values():
        if array.shape == pairs:
            array[lost, :] = array[:, lost] = np.nan
    return sums


def cost(line: Line) -> int:
    """Return about how many bytes a line's measuring reads."""
    each = numel(line.shape) if line.base is None else nbytes(line.base)
    stored = sum(1 for recipe in line.recipes if recipe is not None and recipe.dtype)
    return each * (stored + 1)


def held(line: Line) -> int:
    """Return how many bytes a line's measuring holds: rows of all changes, and pairs of them."""
    count, columns = len(line.recipes), matrices(line.address.name, line.shape)[2]
    rows = min(max(_HELD, count * columns), count * numel(line.shape))
    return 8 * (3 * rows + 4 * count * count)


def floor_sq(line: Line, found: Together) -> Array:
    """Return, for each fine-tune, what rounding to its storage dtype adds to ‖ΔW‖²: Σ ulp²/12."""
    facts = [precision(recipe.dtype) if recipe is not None else None for recipe in line.recipes]
    ulp = np.array([0.0 if fact is None else fact[0] for fact in facts])
    return np.where(ulp > 0, ulp * ulp * found.power_sq / 12, 0.0)


class _Reading:
    """The changes of one line, opened; what cannot be read is a complaint."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.count = len(line.recipes)
        self.complaints: dict[int, str] = {}
        self.nonfinite = np.zeros(self.count, np.int64)
        self.deltas: Mapping[int, Delta] = {}

    def closed_form(self, *, probed: bool) -> Array | None:
        """Return all inner products from factors; None where a change has none.

        Where changes are probed as well, they are opened.
        """
        if not all(recipe is None or isinstance(recipe, Added) for recipe in self.line.recipes):
            return None
        recipes = {i: recipe for i, recipe in enumerate(self.line.recipes) if recipe is not None}
        stored = None if probed else StoredFactors.of([*recipes.values()])
        if stored is not None and is_wide(stored.shape):  # of others each is opened once
            products = self._from_factors(stored, [*recipes])
            if products is not None:
                return products
        self.deltas = opened = Opened(self.line.address.name, recipes, self.line.base)
        self.complaints |= opened.complaints
        own = [*opened]
        try:
            products = inner_products(opened.in_order()) if own else np.zeros((0, 0))
        except FtdiffError:  # a file that has changed since: whoever reads the entries says which
            return None
        if np.isnan(products).any():
            return None
        inner = np.zeros((self.count, self.count))
        inner[np.ix_(own, own)] = products
        self.nonfinite[own] = [*opened.nonfinite.values()]
        return inner

    def _from_factors(self, stored: StoredFactors, own: Sequence[int]) -> Array | None:
        """Return all inner products of products of two tensors; None where one cannot be read."""
        try:
            products, careful = all_products(stored)
            nonfinite = {own[k]: stored.delta(k).nonfinite() for k in careful}
        except (FtdiffError, MemoryError):  # whoever opens them one by one says which
            return None
        if np.isnan(products).any():
            return None
        for i, count in nonfinite.items():
            self.nonfinite[i] = count
        inner = np.zeros((self.count, self.count))
        inner[np.ix_(own, own)] = products
        return inner

    def entries(self, probes: Sequence[Probe], known: Array | None) -> Array:
        """Read all changes side by side, for their inner products (unless known) and probes."""
        inner = np.zeros((self.count, self.count))
        readers = self._each(lambda recipe: recipe.entries(self.line.base))
        for passing in range(max((probe.passes for probe in probes), default=1)):
            for start, stop in self._runs():
                own = [i for i in readers if i not in self.complaints]
                D, nonfinite = self._read(readers, own, start, stop)
                if known is None and passing == 0:
                    self.nonfinite[[*own]] += nonfinite
                    inner[np.ix_(own, own)] += kernels.gram(D)
                for probe in probes:
                    if passing < probe.passes:
                        probe.of_entries(D, own, start, passing)
        return inner if known is None else known

    def _read(
        self, readers: Mapping[int, Entries], own: Sequence[int], start: int, stop: int
    ) -> tuple[Array, Array]:
        """Read a run of each, zero where it is not finite, and count those entries."""
        D = np.zeros((len(own), stop - start))
        for row, i in enumerate(own):
            read = attempt(self.line.address.name, partial(readers[i], start, stop))
            if isinstance(read, str):
                self.complaints[i] = read
            else:
                D[row] = read
        if math.isfinite(D.sum()):
            return D, np.zeros(len(own), np.int64)
        broken = ~np.isfinite(D)
        D[broken] = 0
        return D, broken.sum(axis=1)

    def _runs(self) -> Iterator[tuple[int, int]]:
        """Cut the entries by position alone, into whole rows."""
        size = numel(self.line.shape)
        columns = max(1, matrices(self.line.address.name, self.line.shape)[2])
        step = max(1, _HELD // (self.count * columns)) * columns
        for start in range(0, size, step):
            yield start, min(start + step, size)

    def _each(self, open_: Callable[[Recipe], T]) -> dict[int, T]:
        found = {}
        for i, recipe in enumerate(self.line.recipes):
            if recipe is None or i in self.complaints:
                continue
            opened = attempt(self.line.address.name, partial(open_, recipe))
            if isinstance(opened, str):
                self.complaints[i] = opened
            else:
                found[i] = opened
        return found
