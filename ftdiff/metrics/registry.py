"""The registry of metrics: what each is computed from, and what a reader has to know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np

from ftdiff.deltas.moments import COLUMNS
from ftdiff.errors import BadCall, UnknownName
from ftdiff.metrics.names import several
from ftdiff.registry import Registry
from ftdiff.tensors import Array

#: What a metric may be computed from, and what that costs. All but "sums" are measured only when
#: asked for, tensor by tensor, on the workers.
NEEDS: Mapping[str, str] = {
    "sums": "sums: one pass, no memory",
    "top": "the largest singular values: exact from factors; else Lanczos, tens of passes over ΔW",
    "spectrum": "the whole spectrum: exact from factors; else min(m,n)² memory, mn·min(m,n) work",
    "thresholds": "entry by entry against a threshold: one more pass over W and ΔW, in float64",
    "absolutes": "Σ|W₁| beside the other sums: one more pass over W and ΔW, in float64",
    "merge": "W + ΔW rounded entry by entry: one more pass over W and ΔW, in float64",
    "structure": "a few rows of W and W₁, of whole checkpoints: their rank, direction and grid",
    "text": "a base that runs, and text: gradients of its loss, by `ftdiff importance` alone",
    "geometry": "leading subspaces of base and change: Lanczos, hundreds of passes over W and ΔW",
}


class Sums:
    """Columns of sums, float64, NaN where not measured; `whole` holds the totals of the diff.

    Parameters
    ----------
    columns
        The columns of `ftdiff.moments.COLUMNS`, `numel` (entries they are over) and `params`
        (entries of the group, with what did not move), `energy` (‖ΔW‖² of all of the group, vectors
        too), all of one length. `rows` and `columns` are
        the sides of the matrix, NaN for a group and for what is no matrix.
    whole
        Totals over everything compared: `delta_sq`, and `numel` with what did not move.
    """

    def __init__(self, columns: Mapping[str, Array], whole: Mapping[str, float]) -> None:
        self._columns = columns
        self.whole = whole

    def __getattr__(self, name: str) -> Array:
        if name not in ("numel", "params", "energy", "rows", "columns", *COLUMNS):
            raise AttributeError(f"there is no sum called {name!r}; there are numel, {COLUMNS}")
        return self._columns[name]


SumsFunction: TypeAlias = Callable[[Sums], Array]
F = TypeVar("F", bound=Callable[[Any], Any])


@dataclass(frozen=True)
class Metric:
    """A registered metric: its function, and what a reader has to know.

    Attributes
    ----------
    name, label, unit, range, formula, source, null, cost
        Words; `label` is an axis label, `null` what noise alone gives.
    compute
        A function of what the metric needs: of `Sums`, a column; else of one tensor's record
        (`ftdiff.spectra.Spectrum`), a number.
    group
        A name that stands for several metrics, as in `-m spectral`.
    needs
        A key of `NEEDS`.
    expected
        The null's value, as a column, from `Sums`; None where there is no closed form.
    pool
        Of a metric that needs more than sums, how a group has it from its tensors: "share", the
        mean by entries; "energy", the quadratic mean by ‖ΔW‖²; "quotient", Σ|ΔW| over the sum
        of what it was divided by; "sum", the sum over all tensors of the group, of vectors too; ""
        where none of these is right.
    """

    name: str
    label: str
    unit: str
    range: str
    formula: str
    source: str
    null: str
    cost: str
    compute: Callable[[Any], Any]
    group: str = "own"
    needs: str = "sums"
    expected: SumsFunction | None = None
    pool: str = ""

    def __call__(self, sums: Sums) -> Array:
        """Compute the column, quietly: 0/0 and x/0 are missing, not warnings."""
        return _quiet(self.compute, sums)

    def noise(self, sums: Sums) -> Array:
        """Return what noise alone gives, as a column; NaN where that has no closed form."""
        if self.expected is None:
            return np.full(sums.numel.shape, np.nan)
        return _quiet(self.expected, sums)


def _quiet(function: Callable[[Any], Any], sums: Sums) -> Array:
    with np.errstate(all="ignore"):
        column = np.broadcast_to(np.asarray(function(sums), np.float64), sums.numel.shape)
    return np.where(np.isfinite(column), column, np.nan)


METRICS: Registry[Metric] = Registry("metric")


def metric(
    name: str,
    *,
    label: str,
    formula: str,
    range: str,
    null: str,
    source: str = "",
    unit: str = "",
    cost: str = "",
    group: str = "own",
    needs: str = "sums",
    expected: SumsFunction | None = None,
    pool: str = "",
) -> Callable[[F], F]:
    """Register a function as a metric, and return it as it was.

    Parameters
    ----------
    name, label, formula, range, null, source, unit, cost
        See `Metric`.
    group
        A name that stands for several metrics.
    needs
        What the function is given: "sums" (a `Sums`, which may be of a tensor or a group; a column
        comes back), or a key of `NEEDS` whose record of one tensor it turns into one number.
    expected
        What noise alone gives, as a function of `Sums`.
    pool
        See `Metric`.

    Raises
    ------
    BadCall
        `needs` is none of `NEEDS`.

    Examples
    --------
    >>> @metric("mean_change", label="mean |ΔW|", formula="Σ|ΔW|/N", range="[0, ∞)", null="0")
    ... def mean_change(s):
    ...     return s.delta_abs / s.numel
    >>> METRICS["mean_change"].label
    'mean |ΔW|'
    >>> del METRICS._items["mean_change"]
    """
    if needs not in NEEDS:
        raise BadCall(f"metric {name!r} needs {needs!r}; there are {', '.join(NEEDS)}")

    def register(function: F) -> F:
        words = (name, label, unit, range, formula, source, null, cost or NEEDS[needs])
        METRICS.add(name, Metric(*words, function, group, needs, expected, pool))
        return function

    return register


def resolve(names: str | Iterable[str]) -> list[Metric]:
    """Return the metrics of these names, or of this one; a group's name stands for all of it.

    No names stand for every metric that comes from sums alone.

    Raises
    ------
    UnknownName
        No metric and no group has that name.
    """
    wanted = several(names)
    if not wanted:
        return [m for m in METRICS.values() if m.needs == "sums"]
    found: dict[str, Metric] = {}
    for name in wanted:
        members = [m for m in METRICS.values() if m.group == name and name not in METRICS]
        found |= {m.name: m for m in members or [_named(name)]}
    return list(found.values())


def measurable(metrics: Iterable[Metric]) -> None:
    """Check that metrics can be measured from weights alone.

    Raises
    ------
    BadCall
        One needs text.
    """
    for one in metrics:
        if one.needs == "text":
            raise BadCall(f"{one.name} needs a text: ftdiff importance measures it")


def groups() -> dict[str, list[Metric]]:
    """Return the metrics of each group, in the order of registration."""
    found: dict[str, list[Metric]] = {}
    for m in METRICS.values():
        found.setdefault(m.group, []).append(m)
    return found


def _named(name: str) -> Metric:
    if name in METRICS:
        return METRICS[name]
    if "," in name:
        raise UnknownName(f"{name!r}: one metric or group a time; repeat -m, or pass a list")
    known = {**METRICS, **{group: members[0] for group, members in groups().items()}}
    return Registry("metric", known)[name]
