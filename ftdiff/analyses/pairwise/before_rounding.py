"""Inner products of changes as they were before they were rounded to a file's grid.

A change stored in bfloat16 is the one that was made plus a rounding error, which is no noise where
the spacing of the numbers is wider than the change: most entries then do not move, the others jump
by a whole unit, and where the base lies off the grid its own rounding is in every fine-tune alike.
Where the spacing is at most half of the change, an error is spread evenly, and has nothing to do
with the change, nor with the error of another file: squares are longer by spacing²/12, and products
are right. Spacings differ by entry, since they double with each power of two of the weight. So
‖ΔWᵢ‖² and ‖ΔWᵢ − ΔWⱼ‖² are taken from the entries whose spacing is fine enough for them (a weight
of 0 or 1 for what otherwise is 1/spacing²), less spacing²/12 each, as a mean over the tensor, and
2⟨ΔWᵢ, ΔWⱼ⟩ = ‖ΔWᵢ‖² + ‖ΔWⱼ‖² − ‖ΔWᵢ − ΔWⱼ‖².

These are the small weights of a tensor. That a change does not depend on the size of its weight is
assumed, and held against those with wider spacings: where they do not agree nothing is returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from ftdiff import kernels
from ftdiff.analyses.pairwise.line import Line
from ftdiff.comparison.journal import kept_as
from ftdiff.deltas.recipes import Entries, Recipe
from ftdiff.deltas.recipes.held import is_far
from ftdiff.errors import attempt
from ftdiff.tensors import DTYPES, Array, numel, precision

#: Entries of a tensor that are looked at, of all fine-tunes together, and in how long runs.
_SAMPLE, _HELD, _RUN = 1 << 17, 1 << 23, 1 << 12
#: Entries by which a file of a fine dtype shows that its values lie on a coarser grid.
_GLANCE = 1 << 10
#: The change over the widest spacing that is fine enough, and over the widest that is asked.
_FINE, _ASKED = 2.0, 0.5
#: Entries that a mean square is of at least, and how far that of the wider ones may be off.
_LEAST, _STEADY = 128, 2.0
#: Of two changes that seem to be one, how much of their square is not sure.
_SURE = 0.01
#: A squared change over the squared rounding error from which it is taken as stored.
_CLEAR = 1000.0
#: Grids coarser than a file's dtype on which its values may lie.
_COARSER = {"F32": ("BF16", "F16"), "F64": ("BF16", "F16", "F32")}
#: Spacings at 1 under which rounding is not looked at: float32's and finer.
_NONE = 2.0**-20


@kept_as("unrounded")
@dataclass(frozen=True, eq=False)
class Unrounded:
    """What is estimated of one tensor of n fine-tunes.

    Attributes
    ----------
    inner
        float64, n × n: ⟨ΔWᵢ, ΔWⱼ⟩ before rounding; as stored, to the bit, of two that were not
        rounded, or are far larger; NaN where the file's grid is too coarse to say.
    error_sq
        float64, n × n: the variance of that estimate, 0 where it is none; of two that are far
        larger than their rounding, the square of what that is at most.
    """

    inner: Array
    error_sq: Array


def unknown(count: int) -> Unrounded:
    """Return that nothing is known of so many."""
    nothing = np.full((count, count), np.nan)
    return Unrounded(nothing, nothing.copy())


def before_rounding(line: Line, stored: Array) -> Unrounded:
    """Estimate the inner products of one tensor.

    Parameters
    ----------
    line
        The tensor.
    stored
        n × n: the inner products as stored.
    """
    as_stored = Unrounded(stored.copy(), np.where(np.isfinite(stored), 0.0, np.nan))
    asked = [i for i, length in enumerate(stored.diagonal()) if length > 0]
    if line.base is None or not any(_rounded(line.recipes[i]) for i in asked):
        return as_stored
    if is_far(line.base) or any(is_far(line.recipes[i]) for i in asked):
        return unknown(len(stored))  # a sample is many requests
    read = attempt(line.address.name, partial(_read, line, asked))
    if isinstance(read, str):  # whoever read all of it says why
        return unknown(len(stored))
    eps, W, D = read
    coarse = eps > 0
    if not coarse.any():
        return as_stored
    powers = (np.frexp(W)[1] - 1).astype(np.int16)
    noise = np.square(eps) * np.square(np.ldexp(1.0, powers)).sum() / 12
    with np.errstate(all="ignore"):
        eps[np.square(D).sum(axis=1) > _CLEAR * noise] = 0.0
    at = np.ix_(asked, asked)
    lengths = stored.diagonal()[asked]
    either = coarse[:, None] | coarse[None, :]
    as_stored.error_sq[at] += either * lengths[:, None] * lengths[None, :] / _CLEAR**2
    if eps.any():
        squares, counts = _mean_squares(D, powers, eps)
        _fill(as_stored, at, eps, squares * numel(line.shape), counts)
    return as_stored


def _rounded(recipe: Recipe | None) -> bool:
    if recipe is None:
        return False
    fact = precision(recipe.dtype)
    return fact is not None and (fact[0] > _NONE or recipe.dtype in _COARSER)


def _read(line: Line, asked: list[int]) -> tuple[Array, Array, Array]:
    """Return spacings at 1, and a sample of the base and of each change if one is coarse."""
    recipes = [recipe for i in asked if (recipe := line.recipes[i]) is not None]
    readers = [recipe.entries(line.base) for recipe in recipes]
    size = numel(line.shape)
    glance = [(size // 2, min(size // 2 + _GLANCE, size))]
    W, D = np.zeros(0), np.zeros((len(asked), 0))
    eps = np.zeros(len(asked))
    for i, recipe in enumerate(recipes):
        held = [readers[i]] if recipe.dtype in _COARSER else []
        eps[i] = _spacing(recipe.dtype, *(_sample(line, held, glance) if held else (W, D)))
    if eps.any():
        runs = max(1, min(_SAMPLE, _HELD // len(asked)) // _RUN)
        whole = size <= runs * _RUN
        starts = range(0, size, _RUN) if whole else np.linspace(0, size - _RUN, runs).astype(int)
        W, D = _sample(line, readers, [(int(at), min(int(at) + _RUN, size)) for at in starts])
        kept = np.isfinite(D).all(axis=0) & np.isfinite(W) & (W != 0)  # 0 has no spacing
        if not kept.all():
            W, D = W[kept], D[:, kept]
    return eps, W, D


def _sample(
    line: Line, readers: list[Entries], spans: list[tuple[int, int]]
) -> tuple[Array, Array]:
    """Read runs of the base and of each change."""
    assert line.base is not None
    parts = []
    for start, stop in spans:
        with line.base.window(start, stop) as window:
            parts.append(window.astype(np.float64).ravel())
    changes = [np.concatenate([read(*span) for span in spans]) for read in readers]
    return np.concatenate(parts), np.stack(changes)


def _spacing(dtype: str, W: Array, D: Array) -> float:
    """Return the spacing at 1 of the grid on which a fine-tune's values lie; 0 where it is fine."""
    for coarser in _COARSER.get(dtype, ()):
        M = W + D[0]
        with np.errstate(all="ignore"):
            if (M.astype(DTYPES[coarser]).astype(np.float64) == M).all():
                dtype = coarser
                break
    fact = precision(dtype)
    return fact[0] if fact is not None and fact[0] > _NONE else 0.0


def _mean_squares(D: Array, powers: Array, eps: Array) -> tuple[Array, Array]:
    """Return mean squares of all, on the diagonal, and of their differences; and of how many.

    Parameters
    ----------
    D
        n × entries.
    powers
        ⌊log₂|w|⌋ of each entry.
    eps
        n: spacings at 1.
    """
    n = len(D)
    if not powers.size:
        return np.full((n, n), np.nan), np.zeros((n, n))
    order = np.argsort(powers, kind="stable")
    D, powers = np.ascontiguousarray(D[:, order]), powers[order]
    cuts = np.flatnonzero(np.r_[True, powers[1:] != powers[:-1]])
    G = np.zeros((len(cuts), n, n))
    for row, (start, stop) in enumerate(zip(cuts, [*cuts[1:], D.shape[1]], strict=True)):
        G[row] = kernels.gram(np.ascontiguousarray(D[:, start:stop]))
    own = np.einsum("cii->ci", G)
    squares = own[:, :, None] + own[:, None, :] - 2 * G
    diagonal = np.eye(n, dtype=bool)
    squares[:, diagonal] = own
    one, other = eps[:, None], eps[None, :]
    noise = np.where(diagonal, one * one, one * one + other * other) / 12
    unit = np.ldexp(1.0, powers[cuts])
    counts = np.diff(np.r_[cuts, D.shape[1]]).astype(float)
    return _fine(squares, counts, unit, noise, np.maximum(one, other))


def _fine(
    squares: Array, counts: Array, unit: Array, noise: Array, widest: Array
) -> tuple[Array, Array]:
    """Return the means over the entries with spacings that are fine enough for each of n × n."""
    n = len(widest)
    found, of = np.full((n, n), np.nan), np.zeros((n, n))
    corrected = squares - (counts * unit * unit)[:, None, None] * noise
    seen = np.cumsum(counts)
    with np.errstate(all="ignore"):
        means = np.cumsum(corrected, axis=0) / seen[:, None, None]
    spacing = unit[:, None, None] * widest
    fine = np.square(_FINE * spacing) <= means
    fine |= (seen < _LEAST)[:, None, None]
    last = np.cumprod(fine, axis=0, dtype=np.int64).sum(axis=0) - 1
    for i, j in np.ndindex(n, n):
        at = int(last[i, j])
        if not squares[:, i, j].any():
            found[i, j], of[i, j] = 0.0, seen[-1]
        elif at >= 0 and seen[at] >= _LEAST and means[at, i, j] > 0:
            beyond = slice(at + 1, len(unit))
            asked = np.square(_ASKED * spacing[beyond, i, j]) <= means[at, i, j]
            many = float(counts[beyond][asked].sum())
            mean = float(corrected[beyond, i, j][asked].sum()) / max(many, 1.0)
            ratio = mean / means[at, i, j] if many >= _LEAST else 1.0
            if 1 / _STEADY <= ratio <= _STEADY:
                found[i, j], of[i, j] = means[at, i, j], seen[at]
    return found, of


def _fill(
    found: Unrounded, at: tuple[Array, ...], eps: Array, squares: Array, counts: Array
) -> None:
    """Put the estimates of those that are rounded in their places."""
    own = squares.diagonal()
    inner = (own[:, None] + own[None, :] - squares) / 2
    sizes = own[:, None] * own[None, :]
    np.fill_diagonal(inner, own)
    with np.errstate(all="ignore"):
        share = np.where(sizes > 0, np.square(inner) / sizes, 0.0)
        error = sizes * np.square(np.maximum(1 - share, _SURE)) / counts
        np.fill_diagonal(error, 2 * np.square(own) / counts.diagonal())
    kept = ((eps[:, None] == 0) & (eps[None, :] == 0)) | np.isnan(found.inner[at])
    error[np.isnan(inner)] = np.nan
    found.inner[at] = np.where(kept, found.inner[at], inner)
    found.error_sq[at] = np.where(kept, found.error_sq[at], error)
