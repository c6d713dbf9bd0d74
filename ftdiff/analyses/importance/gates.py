"""A gate for each part of the change, held open only by what the part is worth on a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ftdiff.analyses.importance.gradients import Asked, slopes
from ftdiff.analyses.importance.parts import Part, of
from ftdiff.analyses.importance.passes import Pass
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
) -> list[tuple[Part, float]]:
    """Minimise L(W + σ(γ)·ΔW) + gain · mean σ(γ), and return σ(γ) of each part.

    A gate stays open where its part is worth more than an average part; without the second term
    all would open. γ is 0 at first.

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
    """
    moving = _moving(parts, changes)
    opened = asked.once(
        pass_of(parts, changes), lambda: _minimised(asked, changes, moving, gain, done)
    )
    return list(zip(moving, opened, strict=True))


def pass_of(parts: Sequence[Part], changes: Changes) -> Pass:
    """Return what is kept of the gates of these parts; each step is kept by itself as well."""
    return Pass("gate", (_moving(parts, changes), STEPS, RATE))


def _moving(parts: Sequence[Part], changes: Changes) -> list[Part]:
    return [part for part in parts if of(part, changes.pieces)]


def _minimised(
    asked: Asked, changes: Changes, moving: Sequence[Part], gain: float, done: Report
) -> list[float]:
    gamma = np.zeros(len(moving))
    adam = _Adam(len(moving))
    for step in range(1, STEPS + 1):
        opened = _sigmoid(gamma)
        far = {
            name: float(share)
            for part, share in zip(moving, opened, strict=True)
            for name in of(part, changes.pieces)
        }
        worth = slopes(asked, changes, far)
        sums = [sum(worth[name] for name in of(part, changes.pieces)) for part in moving]
        slope = (np.array(sums) + gain / len(moving)) * opened * (1 - opened)
        gamma = gamma - adam.step(slope)
        done(step, STEPS)
    shares: list[float] = _sigmoid(gamma).tolist()
    return shares


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
