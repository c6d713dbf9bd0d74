"""Nulls: what a curve over layers shows where neighbours resemble each other and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ftdiff.tensors import Array

#: Noise of which nulls are drawn: so many curves, and as many for the bias of φ.
DRAWS, BIAS_DRAWS = 1_500, 200
#: The least number of layers in a run, and beside it.
SEGMENT = 3
#: Curves are held to so many robust deviations, of 2 % at least: no single layer makes a pattern.
CLIP, SPREAD = 3.0, 0.02
_SEED = 20_240_917
#: φ for which noise is drawn to know the bias, and the grid of φ for which nulls are kept.
_PHIS = np.array([0.0, 0.25, 0.5, 0.7, 0.85, 0.95])
_STEP = 0.05
#: By so many standard errors φ is raised: too low a φ makes patterns of noise.
_RAISE = 0.5
#: Under this chance, a curve's shape is taken out of it before φ is told.
_SHAPED = 0.05
#: A noise of 1 % is taken to be in every curve, so that equal numbers divide by something.
LEAST_SQ = 1e-4


@dataclass(frozen=True, eq=False)
class Shapes:
    """What a curve of n layers may show, whitened under one φ.

    Attributes
    ----------
    runs
        (k, 2): first layer and one past the last of each step (it begins at 0 or ends at n), of
        each bump, and of the upper half of each smooth hump.
    gains
        (1 + k, n): times a curve, what the line and each run explain of it, as a root.
    whiten
        (n, n): times a curve, independent noise without its mean.
    """

    runs: Array
    gains: Array
    whiten: Array

    def scores(self, curves: Array) -> Array:
        """Return t² of the line and each run: (curves, 1 + k), of curves (curves, n)."""
        n = curves.shape[1]
        gain: Array = (curves @ self.gains.T) ** 2
        whole = ((curves @ self.whiten.T) ** 2).sum(axis=1, keepdims=True)
        left = np.maximum(whole - gain, 0) / (n - 2) + LEAST_SQ
        scores: Array = gain / left
        return scores


def clipped(curves: Array) -> Array:
    """Hold curves (…, n) to three robust deviations of their medians."""
    middle = np.median(curves, axis=-1, keepdims=True)
    spread = np.median(np.abs(curves - middle), axis=-1, keepdims=True)
    limit = CLIP * 1.4826 * np.maximum(spread, SPREAD)
    held: Array = np.clip(curves, middle - limit, middle + limit)
    return held


@lru_cache(maxsize=256)
def shapes(n: int, phi: float) -> Shapes:
    """Return the line and the runs that are looked for among n layers, whitened under φ."""
    white = np.eye(n) - phi * np.eye(n, k=-1)
    white[0, 0] = np.sqrt(1 - phi**2)
    flat = white @ np.ones(n)
    flat /= np.linalg.norm(flat)
    white -= np.outer(flat, flat @ white)
    runs, humps = _runs(n), _humps(n)
    places = np.arange(n)
    within = (places >= runs[:, :1]) & (places < runs[:, 1:])
    away = np.abs(places - humps.mean(axis=1, keepdims=True) + 0.5)
    rounded = np.cos(np.minimum(away / np.diff(humps), 1) * np.pi / 2) ** 2
    directions = np.vstack([places - (n - 1) / 2, within, rounded]) @ white.T
    runs = np.vstack([runs, humps])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return Shapes(runs, directions @ white, white)


def _runs(n: int) -> Array:
    """Return every step, and bumps of lengths and beginnings that grow coarser as they do."""
    found = [(0, end) for end in range(SEGMENT, n - SEGMENT + 1)]
    length = SEGMENT
    while length <= n - SEGMENT:
        stride = max(1, length // 6)
        found += [(start, start + length) for start in range(1, n - length, stride)]
        length += max(1, length // 5)
    return np.array(found).reshape(-1, 2)


def _humps(n: int) -> Array:
    """Return the layers in which smooth humps have more than half of their height."""
    found, length = [], SEGMENT + 1
    while length <= n * 2 / 3:
        stride = max(1, length // 5)
        found += [(start, start + length) for start in range(1, n - length, stride)]
        length += max(1, length // 3)
    return np.array(found).reshape(-1, 2)


@lru_cache(maxsize=64)
def _noise(n: int, phi: float, draws: int) -> Array:
    """Return Gaussian AR(1) curves of variance 1, (draws, n), clipped."""
    noise = np.random.default_rng(_SEED + n).normal(size=(draws, n))
    for i in range(1, n):
        noise[:, i] = phi * noise[:, i - 1] + np.sqrt(1 - phi**2) * noise[:, i]
    return clipped(noise)


def lag_one(curves: Array, shaped: Array) -> Array:
    """Return how much each layer resembles the next, (curves,), once a line is taken out.

    Where `shaped` is true, the best run is taken out instead if it explains more.
    """
    n = curves.shape[1]
    plain = shapes(n, 0.0)
    best = np.zeros(len(curves), int)
    best[shaped] = np.abs(curves[shaped] @ plain.gains.T).argmax(axis=1)
    direction = plain.gains[best]
    left = curves @ plain.whiten.T
    left = left - (left * direction).sum(axis=1, keepdims=True) * direction
    whole = np.maximum((left**2).sum(axis=1), n * LEAST_SQ)
    found: Array = (left[:, 1:] * left[:, :-1]).sum(axis=1) / whole
    return found


def pooled_phi(curves: Sequence[Array]) -> float:
    """Return one AR(1) φ for curves of one model, unbiased and raised by half a standard error.

    What each layer resembles the next by is averaged over curves and looked up among that of
    noise with a known φ. At first the best shape is taken out of every curve, then only of those
    where it passes under the first φ: more of the data is left to tell φ by. Curves that run
    alike count as fewer.
    """
    rows = [clipped(curve)[None] for curve in curves]
    first = _looked_up(rows, [True] * len(rows))
    passed = [_shape_chance(row, first) < _SHAPED for row in rows]
    return first if all(passed) else _looked_up(rows, passed)


def _looked_up(rows: list[Array], shaped: list[bool]) -> float:
    mean, spread_sq, observed = np.zeros(len(_PHIS)), np.zeros(len(_PHIS)), 0.0
    for row, out in zip(rows, shaped, strict=True):
        expected, deviation = _bias(row.shape[1], out)
        observed += float(lag_one(row, np.array([out]))[0]) / len(rows)
        mean += expected / len(rows)
        spread_sq += deviation**2 / len(rows)
    raised = observed + _RAISE * np.sqrt(spread_sq / _independent(rows))
    beyond = np.maximum.accumulate(mean - raised)
    return float(np.interp(0.0, beyond + 1e-9 * np.arange(len(_PHIS)), _PHIS))


def _shape_chance(row: Array, phi: float) -> float:
    """Return the lesser chance of the line and of the best run, under a φ."""
    n, near = row.shape[1], rounded_up(phi)
    scores = shapes(n, near).scores(row)[0]
    runs = run_chance(float(scores[1:].max()), n, near) if len(scores) > 1 else 1.0
    return min(runs, float(student(scores[0], n - 2)))


def rounded_up(phi: float) -> float:
    """Return φ on the grid for which nulls are kept."""
    return float(min(np.ceil(phi / _STEP - 1e-9) * _STEP, _PHIS[-1]).round(2))


@lru_cache(maxsize=256)
def _bias(n: int, shaped: bool) -> tuple[Array, Array]:
    """Return mean and deviation of `lag_one` for noise of each φ of the grid."""
    out = np.full(BIAS_DRAWS, shaped)
    found = np.array([lag_one(_noise(n, float(phi), BIAS_DRAWS), out) for phi in _PHIS])
    return found.mean(axis=1), found.std(axis=1)


def _independent(rows: list[Array]) -> float:
    """Return how many independent curves as many that resemble each other are worth."""
    worth = 0.0
    for n in {row.shape[1] for row in rows}:
        steps = np.diff(np.concatenate([row for row in rows if row.shape[1] == n]), axis=1)
        m = len(steps)
        with np.errstate(invalid="ignore", divide="ignore"):
            squares = np.nan_to_num(np.corrcoef(steps)) ** 2 if m > 1 else np.ones((1, 1))
        shared = max((squares.sum() - m) / max(m * (m - 1), 1) - 1.5 / n, 0.0)
        worth += m / (1 + (m - 1) * shared)
    return worth


def student(t_sq: Array | float, degrees: int) -> Array:
    """Return the two-sided p of Student's t, given its square."""
    from scipy.special import stdtr

    found: Array = 2 * stdtr(degrees, -np.sqrt(t_sq))
    return found


@lru_cache(maxsize=256)
def _best_runs(n: int, phi: float) -> tuple[Array, float]:
    """Return −log of the least p over runs, of noise, sorted; and the mean excess of its tail."""
    best = shapes(n, phi).scores(_noise(n, phi, DRAWS))[:, 1:].max(axis=1)
    losses = np.sort(-np.log(np.maximum(student(best, n - 2), 1e-300)))
    tail = losses[-DRAWS // 10 :]
    return losses, max(1.0, float((tail - tail[0]).mean()))


def run_chance(score: float, n: int, phi: float) -> float:
    """Return how often the best run of noise scores as high.

    By the draws where a tenth of them do, beyond by the exponential tail fitted to that tenth
    (Pickands, 1975): p of one in a million need no million draws.
    """
    losses, excess = _best_runs(n, phi)
    loss = float(-np.log(np.maximum(student(score, n - 2), 1e-300)))
    start = float(losses[-DRAWS // 10])
    if loss > start:
        return float(0.1 * np.exp(-(loss - start) / excess))
    return float((1 + (losses >= loss).sum()) / (1 + DRAWS))


def level_chance(curve: Array, phi: float) -> tuple[float, float]:
    """Return the whitened mean of a curve and the two-sided p that it is 0."""
    n = len(curve)
    weights = np.full(n, (1 - phi) ** 2)
    weights[[0, -1]] = 1 - phi
    mean = float(weights @ curve / weights.sum())
    left = curve - mean
    white = np.concatenate([[np.sqrt(1 - phi**2) * left[0]], left[1:] - phi * left[:-1]])
    variance = (white @ white / (n - 1) + LEAST_SQ * (1 - phi**2)) / weights.sum()
    return mean, float(student(mean**2 / variance, n - 1))


def discoveries(p: Array, *, shared: bool = False) -> Array:
    """Return the p of several tests adjusted by Benjamini and Hochberg (1995).

    Tests that share data depend on each other in any way: by Benjamini and Yekutieli (2001).
    """
    p = np.asarray(p, np.float64)
    ranks = np.arange(1, len(p) + 1)
    many = (1 / ranks).sum() if shared else 1.0
    order = np.argsort(p)
    adjusted = np.minimum.accumulate((many * len(p) * p[order] / ranks)[::-1])[::-1]
    found = np.empty(len(p))
    found[order] = np.minimum(adjusted, 1.0)
    return found


def holm(p: Array) -> Array:
    """Return the p of several tests adjusted by Holm (1979): the chance of even one false."""
    p = np.asarray(p, np.float64)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    found = np.empty(len(p))
    found[order] = np.minimum(adjusted, 1.0)
    return found
