"""From inner products of a run's changes to its path: lengths, steps, angles, growth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.tensors import Array


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums of a group of tensors over n checkpoints, in the order of training.

    Attributes
    ----------
    inner
        n × n: ⟨ΔWₛ, ΔWₜ⟩, NaN where the two were not read side by side.
    sketch
        n × k: what estimates those.
    base_sq
        ‖W‖²; NaN without a base.
    floor_sq
        n: what rounding to the storage dtype adds to ‖ΔW‖².
    chance
        n × n: the variance of the cosine of independent changes, times both ‖ΔW‖².
    """

    inner: Array
    sketch: Array
    base_sq: float
    floor_sq: Array
    chance: Array


def path(sums: Sums) -> dict[str, Array]:
    """Return the numbers of each checkpoint, n each.

    Numbers
    -------
    displacement, relative_norm
        ‖W_t − W_0‖, and over ‖W_0‖.
    step_length, relative_step
        ‖W_t − W_{t−1}‖, and over ‖W_0‖; the first step is from the base.
    path_length, efficiency
        Σ of the steps so far, and displacement over it: 1 for a straight line.
    efficiency_null
        √(Σ steps²) / Σ steps: the efficiency of steps that are orthogonal to each other.
    step_cosine, cosine_null
        Cosine of a step with the one before, and the standard deviation of a cosine of changes
        that were turned at random.
    cosine_final
        cos(W_t − W_0, W_T − W_0).
    snr
        ‖W_t − W_0‖² over what rounding alone gives; infinite where nothing was rounded.
    estimated
        1 where the step was not read side by side with the one before, and is from sketches.
    """
    known = np.isfinite(sums.inner)
    G = np.where(known, sums.inner, sums.sketch @ sums.sketch.T)
    own = sums.inner.diagonal()
    n = len(own)
    step_sq, turn, estimated = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n)
    for t in range(n):
        step_sq[t] = _step_sq(G, sums.sketch, known, t)
        turn[t] = _turn(G, sums.sketch, known, t)
        estimated[t] = float(t > 0 and not known[t, t - 1])
    with np.errstate(all="ignore"):
        displacement, step = np.sqrt(own), np.sqrt(step_sq)
        walked = np.cumsum(step)
        before = np.concatenate([[np.nan], step[:-1]])
        size = np.sqrt(own * own[-1])
        previous = np.concatenate([[np.nan], own[:-1]])
        last = np.concatenate([[np.nan], np.diag(sums.chance, -1)])
        return {
            "displacement": displacement,
            "relative_norm": displacement / np.sqrt(sums.base_sq),
            "step_length": step,
            "relative_step": step / np.sqrt(sums.base_sq),
            "path_length": walked,
            "efficiency": np.minimum(displacement / walked, 1.0),
            "efficiency_null": np.sqrt(np.cumsum(step_sq)) / walked,
            "step_cosine": np.clip(turn / (step * before), -1, 1),
            "cosine_null": np.sqrt(last / (own * previous)),
            "cosine_final": np.clip(G[:, -1] / size, -1, 1),
            "snr": own / sums.floor_sq,
            "estimated": estimated,
        }


def _step_sq(G: Array, sketch: Array, known: Array, t: int) -> float:
    """Return ‖ΔW_t − ΔW_{t−1}‖²: from inner products, or of the difference of two sketches."""
    if t == 0:
        return float(G[0, 0])
    if known[t, t - 1]:
        return max(float(G[t, t] + G[t - 1, t - 1] - 2 * G[t, t - 1]), 0.0)
    return float(np.square(sketch[t] - sketch[t - 1]).sum())


def _turn(G: Array, sketch: Array, known: Array, t: int) -> float:
    """Return ⟨step t, step t − 1⟩; the step before the second is from the base."""
    if t == 0:
        return float("nan")
    if t == 1:
        if known[1, 0]:
            return float(G[1, 0] - G[0, 0])
        return float((sketch[1] - sketch[0]) @ sketch[0])
    if known[t, t - 1] and known[t, t - 2] and known[t - 1, t - 2]:
        return float(G[t, t - 1] - G[t, t - 2] - G[t - 1, t - 1] + G[t - 1, t - 2])
    return float((sketch[t] - sketch[t - 1]) @ (sketch[t - 1] - sketch[t - 2]))


def growth(steps: Array, displacement: Array) -> tuple[float, float]:
    """Return β of ‖ΔW_t‖ ∝ t^β by least squares on logarithms, and R²; NaN under three points.

    A straight line has 1, a random walk 1/2.

    >>> steps = np.array([1.0, 4.0, 9.0])
    >>> growth(steps, 3 * np.sqrt(steps))
    (0.5, 1.0)
    """
    fit = (steps > 0) & (displacement > 0) & np.isfinite(displacement)
    if fit.sum() < 3:
        return float("nan"), float("nan")
    x, y = np.log(steps[fit]), np.log(displacement[fit])
    x, y = x - x.mean(), y - y.mean()
    beta = float(x @ y / (x @ x))
    spread = float(y @ y)
    left = float(np.square(y - beta * x).sum())
    return round(beta, 12), round(1 - left / spread, 12) if spread else 1.0


def dimension(inner: Array) -> float:
    """Return how many directions the steps spread over: (Σλ)²/Σλ² of their Gram matrix.

    1 for a straight line, the number of steps where they are orthogonal and of one length; NaN
    where a pair was not read side by side.
    """
    n = len(inner)
    steps = np.eye(n) - np.eye(n, k=-1)
    S = steps @ inner @ steps.T
    square = float(np.square(S).sum())
    return float(np.trace(S)) ** 2 / square if square > 0 else float("nan")
