"""What a number in a cell means: each metric is a function of sums that add up, so it regroups.

A metric takes `Sums`, columns of one value per tensor or per group, and returns a column. The same
function serves a tensor, a layer and a whole model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ftdiff.moments import COLUMNS
from ftdiff.registry import Registry
from ftdiff.tensors import Array


class Sums:
    """Columns of sums, float64, NaN where not measured; `whole` holds the totals of the diff.

    Parameters
    ----------
    columns
        The columns of `ftdiff.moments.COLUMNS`, `numel` (entries they are over) and `params`
        (entries of the group, with what did not move), all of one length.
    whole
        Totals over everything compared: `delta_sq`, and `numel` with what did not move.
    """

    def __init__(self, columns: Mapping[str, Array], whole: Mapping[str, float]) -> None:
        self._columns = columns
        self.whole = whole

    def __getattr__(self, name: str) -> Array:
        if name not in ("numel", "params", *COLUMNS):
            raise AttributeError(f"there is no sum called {name!r}; there are numel, {COLUMNS}")
        return self._columns[name]


MetricFunction = Callable[[Sums], Array]
F = TypeVar("F", bound=MetricFunction)


@dataclass(frozen=True)
class Metric:
    """A registered metric: its function, and what a reader has to know."""

    name: str
    label: str
    unit: str
    range: str
    formula: str
    source: str
    null: str
    cost: str
    compute: MetricFunction

    def __call__(self, sums: Sums) -> Array:
        """Compute the column, quietly: 0/0 and x/0 are missing, not warnings."""
        with np.errstate(all="ignore"):
            column = np.asarray(self.compute(sums), np.float64)
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
    cost: str = "sums: one pass, no memory",
) -> Callable[[F], F]:
    """Register a function of `Sums` as a metric, and return it as it was.

    Examples
    --------
    >>> @metric("mean_change", label="mean |ΔW|", formula="Σ|ΔW|/N", range="[0, ∞)", null="0")
    ... def mean_change(s):
    ...     return s.delta_abs / s.numel
    >>> METRICS["mean_change"].label
    'mean |ΔW|'
    >>> del METRICS._items["mean_change"]
    """

    def register(function: F) -> F:
        METRICS.add(name, Metric(name, label, unit, range, formula, source, null, cost, function))
        return function

    return register


def resolve(names: Iterable[str]) -> list[Metric]:
    """Return the metrics of these names, every one there is for none.

    Raises
    ------
    UnknownName
        No metric has that name.
    """
    wanted = list(names)
    return [METRICS[name] for name in wanted] if wanted else list(METRICS.values())


def _one_minus_cosine(s: Sums) -> Array:
    """1 − cos(W, W1) without cancellation: (‖Δ‖² − (‖W1‖ − ‖W‖)²) / (2 ‖W‖ ‖W1‖)."""
    base, tuned = np.sqrt(s.base_sq), np.sqrt(s.tuned_sq)
    longer = (2 * s.inner + s.delta_sq) / (base + tuned)  # ‖W1‖ − ‖W‖
    return np.clip((s.delta_sq - longer**2) / (2 * base * tuned), 0.0, 2.0)


@metric(
    "relative_norm",
    label="‖ΔW‖/‖W‖",
    formula="‖ΔW‖_F / ‖W‖_F",
    range="[0, ∞)",
    null="precision_floor: what rounding alone gives",
    source="Frobenius norms; the measure most model cards plot",
)
def relative_norm(s: Sums) -> Array:
    """How far it moved, against how large it was; 0 for the same bytes even if never read."""
    return np.where(s.delta_sq == 0, 0.0, np.sqrt(s.delta_sq / s.base_sq))


@metric(
    "rms_change",
    label="RMS ΔW",
    unit="weight",
    formula="‖ΔW‖_F / √N",
    range="[0, ∞)",
    null="precision_floor · RMS(W)",
)
def rms_change(s: Sums) -> Array:
    """How far a typical entry moved, in the units of the weights."""
    return np.sqrt(s.delta_sq / s.numel)


@metric(
    "max_abs_change",
    label="max |ΔW|",
    unit="weight",
    formula="max |ΔW|",
    range="[0, ∞)",
    null="about √(2 ln N) times rms_change for Gaussian noise",
)
def max_abs_change(s: Sums) -> Array:
    """How far the entry that moved most moved."""
    return s.delta_max


@metric(
    "cosine",
    label="cos(W, W₁)",
    formula="⟨W, W₁⟩ / (‖W‖ ‖W₁‖)",
    range="[−1, 1]",
    null="1 − relative_norm²/2 for a change at right angles to W",
)
def cosine(s: Sums) -> Array:
    """Whether the direction of the weights was kept; 1 − cos is computed without cancellation."""
    return np.where(s.delta_sq == 0, 1.0, 1.0 - _one_minus_cosine(s))


@metric(
    "scale",
    label="scale c*",
    formula="c* = ⟨W, W₁⟩ / ‖W‖²",
    range="(−∞, ∞)",
    null="1 for a change at right angles to W",
    source="least-squares fit of W₁ by a multiple of W",
)
def scale(s: Sums) -> Array:
    """By which factor the base was rescaled: the multiple of W nearest to W₁."""
    return np.where(s.delta_sq == 0, 1.0, 1.0 + s.inner / s.base_sq)


@metric(
    "rotation",
    label="rotation sin θ",
    formula="sin θ = √(1 − cos²)",
    range="[0, 1]",
    null="relative_norm for a change at right angles to W",
    source="‖ΔW‖² = (c* − 1)² ‖W‖² + sin²θ ‖W₁‖² (Pythagoras)",
)
def rotation(s: Sums) -> Array:
    """How far the direction turned, once any rescaling is taken out."""
    turned = _one_minus_cosine(s)
    return np.where(s.delta_sq == 0, 0.0, np.sqrt(np.clip(turned * (2.0 - turned), 0.0, 1.0)))


@metric(
    "scale_share",
    label="share of rescaling",
    formula="(c* − 1)² ‖W‖² / ‖ΔW‖²",
    range="[0, 1]",
    null="1/N for noise",
    source="the scale term of the same Pythagoras",
)
def scale_share(s: Sums) -> Array:
    """How much of the squared change is a uniform rescaling of the base."""
    return np.clip(s.inner**2 / (s.base_sq * s.delta_sq), 0.0, 1.0)


@metric(
    "changed_fraction",
    label="entries changed",
    formula="#(ΔW ≠ 0) / N",
    range="[0, 1]",
    null="1 for any dense update in float32, and for any unmerged LoRA",
    source="exact comparison of the stored values",
)
def changed_fraction(s: Sums) -> Array:
    """The share of entries whose stored value differs at all."""
    return s.unequal / s.numel


@metric(
    "sign_flip_fraction",
    label="sign flips",
    formula="#(sign w · sign w₁ < 0) / N",
    range="[0, 1]",
    null="about relative_norm/π for independent Gaussian noise",
    source="the conflicts that TIES merging counts",
)
def sign_flip_fraction(s: Sums) -> Array:
    """The share of entries that crossed zero."""
    return s.sign_flips / s.numel


@metric(
    "energy_share",
    label="share of ‖ΔW‖²",
    formula="‖ΔW_k‖² / Σ ‖ΔW‖²",
    range="[0, 1]",
    null="the share of parameters",
)
def energy_share(s: Sums) -> Array:
    """The share of the whole squared change that is here."""
    return s.delta_sq / s.whole["delta_sq"]


@metric(
    "lift",
    label="lift",
    formula="energy_share / share of parameters",
    range="[0, ∞)",
    null="1: as much change as its size would have",
)
def lift(s: Sums) -> Array:
    """How much more of the change is here than the number of parameters explains."""
    return (s.delta_sq / s.whole["delta_sq"]) / (s.params / s.whole["numel"])


@metric(
    "precision_floor",
    label="precision floor",
    formula="√(Σ ulp² / 12) / ‖W‖",
    range="[0, ∞)",
    null="is itself the null of relative_norm",
    source="uniform rounding error of half a unit in the last place (Widrow)",
)
def precision_floor(s: Sums) -> Array:
    """The relative change that rounding W₁ to its storage dtype makes (to the base's: adapters)."""
    return np.sqrt(s.ulp_sq / 12 / s.base_sq)


@metric(
    "snr",
    label="signal to rounding",
    formula="‖ΔW‖² / (Σ ulp² / 12)",
    range="[0, ∞)",
    null="1: nothing but rounding; under 10 is not to be trusted",
)
def snr(s: Sums) -> Array:
    """How far the squared change stands above the storage dtype's rounding."""
    return s.delta_sq / (s.ulp_sq / 12)
