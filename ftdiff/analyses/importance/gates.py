"""A gate for each part of the change, held open only by what the part is worth on a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ftdiff.analyses.importance.gradients import Asked, slopes
from ftdiff.analyses.importance.parts import Part, of
from ftdiff.analyses.live_model import mounting
from ftdiff.analyses.live_model.changes import Changes
from ftdiff.comparison.progress import Report
from ftdiff.tensors import Array

#: Steps of Adam, and its rate.
STEPS, RATE = 20, 0.5


def gates(
    asked: Asked,
    changes: Changes,
    parts: Sequence[Part],
    gain: float,
    done: Report,
    *,
    steps: int = STEPS,
    start: float = 0.0,
) -> list[tuple[Part, float]]:
    """Minimise L(W + σ(γ)·ΔW) + gain · mean σ(γ), and return σ(γ) of each part.

    A gate stays open where its part is worth more than an average part; without the second term
    all would open.

    Parameters
    ----------
    asked, changes
        The base, and what changes.
    parts
        What one γ is of each; those that do not change have no gate.
    gain
        L₀ − L₁, which is positive.
    done
        Called with the steps done and in all.
    steps, start
        How many, and γ at first.
    """
    moving = [part for part in parts if of(part, changes.pieces)]
    gamma = np.full(len(moving), float(start))
    adam = _Adam(len(moving))
    for step in range(1, steps + 1):
        opened = _sigmoid(gamma)
        far = {
            name: float(share)
            for part, share in zip(moving, opened, strict=True)
            for name in of(part, changes.pieces)
        }
        with mounting.at(changes, far):
            worth = slopes(asked, changes)
        sums = [sum(worth[name] for name in of(part, changes.pieces)) for part in moving]
        slope = (np.array(sums) + gain / len(moving)) * opened * (1 - opened)
        gamma = gamma - adam.step(slope)
        done(step, steps)
    return list(zip(moving, _sigmoid(gamma).tolist(), strict=True))


class _Adam:
    """Steps of one size, whatever the slope's (Kingma and Ba, arXiv 1412.6980)."""

    def __init__(self, count: int) -> None:
        self._first, self._second, self._step = np.zeros(count), np.zeros(count), 0

    def step(self, slope: Array) -> Array:
        self._step += 1
        self._first = 0.9 * self._first + 0.1 * slope
        self._second = 0.99 * self._second + 0.01 * slope**2
        first = self._first / (1 - 0.9**self._step)
        second = self._second / (1 - 0.99**self._step)
        moved: Array = RATE * first / (np.sqrt(second) + 1e-12)
        return moved


def _sigmoid(gamma: Array) -> Array:
    opened: Array = 1 / (1 + np.exp(-gamma))
    return opened
