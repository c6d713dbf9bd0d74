"""The rank of a stored change: how many singular values rounding alone does not leave."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ftdiff.metrics.linalg.factors import scales_leave
from ftdiff.metrics.linalg.noise_spectrum import edge
from ftdiff.metrics.linalg.range_finder import top
from ftdiff.metrics.linalg.row_matrices import Held
from ftdiff.metrics.linalg.stored_change import Rounded
from ftdiff.metrics.linalg.svd import singular_values
from ftdiff.metrics.linalg.uneven_noise import Unevenness
from ftdiff.tensors import Array

#: A stored change with fewer times the squares of the floor is blurred by it: roundings are then
#: of the size of ΔW's entries and depend on them. In bfloat16 it is a change under 3e-3.
BLURRED = 3.1
#: Beyond so many times the floor a change is clearly not blurred.
_CLEAR = 4.0
#: Standard deviations of the floor that a tail may lie above it.
_ERRORS = 3.0
#: Times the floor that a tail may have at a rank on which others agree.
_AGREED = 2.0
#: Of the squares that rounding leaves where each row is scaled: the sum is rounded, and its
#: product with the scale, by a norm that was rounded too.
_SCALED = 4.0
#: Times what may be left that a change must have: of a smaller one, factors of a quarter of the
#: ranks take enough for the rest to pass as rounding, however dense it is.
_LARGE = 10.0
#: Leading values that are taken of a large matrix first, and then; and the corner's side over the
#: largest rank that is low.
_LEADING, _CORNER = (48, 160), 1.5
#: Ranks that are tried where rows may be scaled.
_TRIED = 64


@dataclass(frozen=True, eq=False)
class Tail:
    """What the singular values of a stored change say of its rank.

    Attributes
    ----------
    shape
        Rows × columns.
    rank
        The least rank beyond which no more is left than rounding leaves, in sum and in the largest.
    above
        How many singular values lie above all that even rounding has; of a blurred change, above
        all that rounding as uneven as this has: its rank is no less.
    squares
        Σσ² of those from the i-th on, i from 0; the last is 0.
    floor
        Σσ² of rounding.
    blurred
        The stored change is not much larger than its rounding: the rank is a lower bound.
    roundings
        1; or 2 where the rank is low against twice the rounding alone: the merge began from
        weights that the base has rounded.
    """

    shape: tuple[int, int]
    rank: int
    above: int
    squares: Array
    floor: float
    blurred: bool
    roundings: int = 1

    @property
    def low(self) -> bool:
        """Whether factors of this rank have no more than half the numbers that the matrix has."""
        return 0 < self.rank <= most(self.shape)

    @property
    def gap(self) -> float:
        """σ² of the last value that counts over that of the next.

        Planted factors of one size have 2.9 and more, down to changes of 3e-3 in bfloat16; dense
        changes whose rows differ 1.2, since their spectrum goes on.
        """
        last = self.squares[max(0, self.rank - 1) : self.rank + 2]
        if len(last) < 3:
            return 1.0
        value, beyond = -np.diff(last)
        return float(value / beyond) if beyond > 0 else float("inf")

    def allows(self, rank: int) -> bool:
        """Whether the matrix can have this rank, where others agree on it."""
        rank = min(rank, *self.shape)
        return bool(self.squares[rank] <= _AGREED * self.floor)


def most(shape: tuple[int, int]) -> int:
    """Return the largest rank of which factors have half as many numbers as the matrix.

    >>> most((512, 512)), most((12, 36))
    (128, 4)
    """
    rows, columns = shape
    return rows * columns // 2 // max(1, rows + columns)


def tail(stored: Rounded, *, uneven: bool = True) -> Tail:
    """Return what a change's spectrum says, against the rounding of its file.

    Parameters
    ----------
    stored
        The change.
    uneven
        Whether its rounding is taken to be as uneven as it is, which takes most of the time; else
        `above` is 0, and the rank is that of the tail alone. Of a change that is not blurred it is
        the same.

    Notes
    -----
    Noise that is not in the k leading directions has (1 − k/m)(1 − k/n) of its squares left. A
    change that its rounding blurs has less, so that the tail alone counts too few; the values
    above all that rounding has are counted too.
    """
    return _of_large(stored, uneven) if stored.is_large else _of_all(stored, uneven)


def _of_all(stored: Rounded, uneven: bool) -> Tail:
    """Return the same from the whole spectrum."""
    values = singular_values(Held(stored.change))[0]
    one = _against(values, stored, 1, uneven)
    if one.low or one.blurred or not one.rank:
        return one
    two = _against(values, stored, 2, uneven)
    return two if two.low and not two.blurred else one


def _of_large(stored: Rounded, uneven: bool) -> Tail:
    """Return the same from the leading values alone, where these and what they leave suffice.

    Where they do not, a corner with more rows and columns than a low rank has says that the rank is
    not low: no part of a matrix has a larger rank. Else the whole spectrum is taken.
    """
    side = min(stored.shape)
    known = Tail(stored.shape, 0, 0, np.zeros(side + 1), 0.0, False)
    for k in _LEADING:
        if 2 * k > side:
            break
        found = top(stored.change, k)
        known = _against(found.values, stored, 1, uneven, found.rest)
        if known.rank + 2 <= k and (known.low or known.blurred or not known.rank):
            return known
    corner = slice(min(side, round(_CORNER * most(stored.shape))))
    part = Rounded(
        stored.change[corner, corner],
        stored.low[corner, corner],
        stored.high[corner, corner],
        stored.variance[corner, corner],
        stored.grid,
    )
    its = _against(singular_values(Held(part.change))[0], part, 2, uneven)
    if known.floor and its.rank > most(stored.shape):
        return replace(known, rank=max(its.rank, known.rank))
    return _of_all(stored, uneven)


def _against(
    values: Array, stored: Rounded, roundings: int, uneven: bool, rest: float = 0.0
) -> Tail:
    rows, columns = stored.shape
    squares = rest + np.append(np.cumsum(np.square(values)[::-1])[::-1], 0.0)
    more = min(rows, columns) + 1 - len(squares)  # each of these is no larger than the one before
    squares = np.append(squares, rest * (1 - np.arange(1, more + 1) / max(1, more)))
    k = np.arange(len(squares))
    free = (1 - k / rows) * (1 - k / columns)
    floor, spread = roundings * stored.floor, roundings * stored.floor_error
    rank = int(np.argmin(squares > free * floor + _ERRORS * spread * np.sqrt(free)))
    above = _above(values / np.sqrt(roundings), stored, rank) if uneven else 0
    own = roundings * stored.own_floor
    return Tail(
        (rows, columns),
        rank=max(rank, above),
        above=above,
        squares=squares,
        floor=floor,
        blurred=bool(squares[0] < BLURRED * own),
        roundings=roundings,
    )


def scaled_rank(stored: Rounded, base: Array) -> int | None:
    """Return the least rank that explains a change beside a scale of each row; None if none does.

    With a larger rank, rows' scales are not determined: each row more could have any. Where the
    scales are all, it is 0.
    """
    low, high = -1, min(most(stored.shape), _TRIED)
    if high < 1 or not scaled_at(stored, base, high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if scaled_at(stored, base, middle) else (middle, high)
    return high


def scaled_at(stored: Rounded, base: Array, rank: int) -> bool:
    """Say whether a scale of each row and factors of this rank leave no more than rounding does."""
    left = _SCALED * (stored.floor + _ERRORS * stored.floor_error)
    if stored.norm_sq < _LARGE * left:
        return False
    return scales_leave(stored, rank, base) <= left


def _above(values: Array, stored: Rounded, rank: int) -> int:
    """Count the singular values beyond what rounding has, as uneven as its rows and columns are.

    Unevenness only raises the edge, and is left out where that would not change the rank.
    """
    mean = float(stored.variance.mean())
    above = int((values > np.sqrt(mean) * edge(*stored.shape)).sum())
    blurred = stored.norm_sq < _CLEAR * stored.floor
    if above <= rank and not blurred:
        return above
    rows, columns = (stored.variance.mean(axis=i, dtype=np.float64) for i in (1, 0))
    uneven = np.sqrt(mean) * Unevenness(rows / mean, columns / mean).edge
    return int((values > uneven).sum())
