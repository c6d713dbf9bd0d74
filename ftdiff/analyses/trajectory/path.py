"""From inner products of a run's changes to its path: lengths, steps, angles, growth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.metrics import faint
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
        n: the squared rounding error of the storage dtype, Σ ulp²/12.
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
        Σ of the steps so far, and displacement over it: 1 for a straight line. The efficiency is
        missing under the floor: of a displacement that does not stand out of rounding, and of a
        path whose steps that do not are so much of it that it does not stand out of them.
    efficiency_null
        √(Σ steps²) / Σ steps: the efficiency of steps that are orthogonal to each other.
    step_cosine, cosine_null
        Cosine of a step with the one before, and the standard deviation of a cosine of changes
        as large in each tensor as the displacements, turned at random. Missing where one of the
        two steps does not stand out of rounding: the error of the checkpoint between them ends one
        and begins the other, and alone gives −1/2.
    cosine_final
        cos(W_t − W_0, W_T − W_0), as stored: under the floor rounding biases it.
    snr, step_snr
        ‖W_t − W_0‖² over the squared rounding error of W_t, and the squared step over those of
        both its ends; infinite where nothing was rounded.
    estimated
        1 where the step was not read side by side with the one before, and is from sketches.
    """
    known = np.isfinite(sums.inner)
    own = sums.inner.diagonal()
    step_sq = np.array([_step_sq(sums, known, t) for t in range(len(own))])
    with np.errstate(all="ignore"):
        displacement, step = np.sqrt(own), np.sqrt(step_sq)
        walked = np.cumsum(step)
        snr = own / sums.floor_sq
        step_snr = step_sq / (sums.floor_sq + np.concatenate([[0.0], sums.floor_sq[:-1]]))
        blurred = faint(step_snr)
        drowned = faint(np.square(walked / np.cumsum(np.where(blurred, step, 0.0))))
        turn = np.array([_step_cosine(sums, known, t) for t in range(len(own))])
        previous = np.concatenate([[np.nan], own[:-1]])
        chance = np.concatenate([[np.nan], np.diag(sums.chance, -1)])
        return {
            "displacement": displacement,
            "relative_norm": displacement / np.sqrt(sums.base_sq),
            "step_length": step,
            "relative_step": step / np.sqrt(sums.base_sq),
            "path_length": walked,
            "efficiency": np.where(
                faint(snr) | drowned, np.nan, np.minimum(displacement / walked, 1.0)
            ),
            "efficiency_null": np.sqrt(np.cumsum(step_sq)) / walked,
            "step_cosine": np.where(
                blurred | np.concatenate([[False], blurred[:-1]]), np.nan, turn
            ),
            "cosine_null": np.sqrt(chance / (own * previous)),
            "cosine_final": np.array([_final_cosine(sums, known, t) for t in range(len(own))]),
            "snr": snr,
            "step_snr": step_snr,
            "estimated": np.array([0.0, *(~np.diag(known, -1)).astype(float)]),
        }


def _step_sq(sums: Sums, known: Array, t: int) -> float:
    """Return ‖ΔW_t − ΔW_{t−1}‖²: from inner products, or of the difference of two sketches."""
    G = sums.inner
    if t == 0:
        return float(G[0, 0])
    if known[t, t - 1]:
        return max(float(G[t, t] + G[t - 1, t - 1] - 2 * G[t, t - 1]), 0.0)
    return float(np.square(sums.sketch[t] - sums.sketch[t - 1]).sum())


def _step_cosine(sums: Sums, known: Array, t: int) -> float:
    """Return the cosine of a step with the one before; the second's is the way from the base."""
    if t == 0:
        return float("nan")
    last = [t, t - 1, t - 2][: t + 1]
    if known[np.ix_(last, last)].all():
        G = np.zeros((3, 3))
        G[: len(last), : len(last)] = sums.inner[np.ix_(last, last)]
        return _cosine(G, np.array([1.0, -1.0, 0.0]), np.array([0.0, 1.0, -1.0]))
    S = np.zeros((3, sums.sketch.shape[1]))
    S[: len(last)] = sums.sketch[last]
    return _cosine(S @ S.T, np.array([1.0, -1.0, 0.0]), np.array([0.0, 1.0, -1.0]))


def _final_cosine(sums: Sums, known: Array, t: int) -> float:
    both = [t, len(known) - 1]
    S = sums.sketch[both]
    G = sums.inner[np.ix_(both, both)] if known[t, -1] else S @ S.T
    return _cosine(G, np.array([1.0, 0.0]), np.array([0.0, 1.0]))


def _cosine(G: Array, a: Array, b: Array) -> float:
    """Return the cosine of two combinations of vectors whose inner products are G."""
    size = float(a @ G @ a) * float(b @ G @ b)
    return float(np.clip((a @ G @ b) / np.sqrt(size), -1, 1)) if size > 0 else float("nan")


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
