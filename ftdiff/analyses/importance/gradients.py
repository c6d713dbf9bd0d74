"""What gradients say of every tensor: saliency and slope at the base, and the path to the tuned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ftdiff.analyses.importance.passes import Pass, Passes
from ftdiff.analyses.live_model import losses, mounting
from ftdiff.analyses.live_model.batches import Pace, Rows
from ftdiff.analyses.live_model.changes import Changes
from ftdiff.analyses.live_model.losses import Losses
from ftdiff.analyses.live_model.opening import Live
from ftdiff.metrics.records.worth import Worth

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Asked:
    """A model, what it is asked, how many texts at a time, and which passes are kept."""

    live: Live
    rows: Rows
    pace: Pace
    passes: Passes | None = None

    def once(self, one: Pass, make: Callable[[], T]) -> T:
        """Return what a pass gives, which may be kept already; else make it."""
        return make() if self.passes is None else self.passes.once(one, make)


AT_BASE, AT_TUNED = Pass("worth"), Pass("losses", "tuned")


def slopes_at(t: float | Mapping[str, float]) -> Pass:
    """Return the pass there and back where the model stands at W + t·ΔW."""
    return Pass("slopes", t)


def at_base(asked: Asked, changes: Changes | None) -> tuple[Losses, dict[str, Worth]]:
    """Take the gradient of the base's mean loss over all tokens, once, against W and ΔW.

    Returns
    -------
    Losses, dict
        What the base loses, and by parameter its sums but `path`; no change is 0.
    """
    return asked.once(AT_BASE, lambda: _at_base(asked, changes))


def _at_base(asked: Asked, changes: Changes | None) -> tuple[Losses, dict[str, Worth]]:
    found: dict[str, Worth] = {}
    parameters = asked.live.parameters()

    def consume(name: str, gradient: Any) -> None:
        weight = parameters[name].detach()
        found[name] = Worth(
            numel=weight.numel(),
            base_abs=_total(weight.abs()),
            gradient_abs=_total(gradient.abs()),
            product_abs=_total((gradient.double() * weight.double()).abs()),
            **_against(gradient, changes, name),
        )

    lost = losses.gradients(
        asked.live, asked.rows, consume, asked.pace, whole=True, restart=found.clear, of="the base"
    )
    for name, parameter in parameters.items():  # what no text reached has no gradient: zeros
        if name not in found:
            still = {"slope": 0.0, "slope_abs": 0.0} if changes is not None else {}
            base_abs = _total(parameter.detach().abs())
            found[name] = Worth(parameter.numel(), base_abs, 0.0, 0.0, **still)
    return lost, found


def _against(gradient: Any, changes: Changes | None, name: str) -> dict[str, float]:
    if changes is None:
        return {}
    if name not in changes.pieces:
        return {"slope": 0.0, "slope_abs": 0.0}
    product = _product(gradient, changes, name)
    return {"slope": _total(product), "slope_abs": _total(product.abs())}


def _product(gradient: Any, changes: Changes, name: str) -> Any:
    rows = gradient[: changes.pieces[name].rows]
    return rows.double() * changes.delta(name).double()


def _total(values: Any) -> float:
    return float(values.double().sum())


def along(asked: Asked, changes: Changes, nodes: int) -> dict[str, float]:
    """Integrate each tensor's part of the change of loss along W + t·ΔW, t from 0 to 1.

    Parameters
    ----------
    asked, changes
        The base, and what changes.
    nodes
        Of Gauss–Legendre's rule; the parts add up to L₁ − L₀ up to its error.
    """
    found: dict[str, float] = dict.fromkeys(changes, 0.0)
    for t, weight in nodes_of(nodes):
        for name, slope in slopes(asked, changes, t).items():
            found[name] += weight / 2 * slope
    return found


def nodes_of(count: int) -> list[tuple[float, float]]:
    """Return t of each node of Gauss–Legendre's rule, and its weight."""
    points, weights = np.polynomial.legendre.leggauss(count)
    return [((p + 1) / 2, w) for p, w in zip(points.tolist(), weights.tolist(), strict=True)]


def slopes(asked: Asked, changes: Changes, t: float | Mapping[str, float]) -> Mapping[str, float]:
    """Return Σ g∘ΔW of every parameter that changes, g the gradient at W + t·ΔW."""

    def made() -> Mapping[str, float]:
        with mounting.at(changes, t):
            return _slopes(asked, changes)

    return asked.once(slopes_at(t), made)


def _slopes(asked: Asked, changes: Changes) -> Mapping[str, float]:
    found: dict[str, float] = defaultdict(float)

    def consume(name: str, gradient: Any) -> None:
        if name in changes.pieces:
            found[name] += _total(_product(gradient, changes, name))

    losses.gradients(
        *(asked.live, asked.rows, consume, asked.pace),
        restart=found.clear,
        of="the model between base and fine-tune",
    )
    return found
