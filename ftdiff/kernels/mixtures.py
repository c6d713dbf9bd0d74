"""What a merged tensor is of others, in one reading: products, a replay, and a coefficient's ends.

An arithmetic is traced: called once with values that write down what is done with them. Sums are
of exact products, in eight lanes of float64 that are added in their order: the bits depend on
nothing but the entries and where a run of them begins.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ftdiff.kernels.arithmetic import Arithmetic, Traced, traced
from ftdiff.kernels.jit import Target, function, host
from ftdiff.kernels.lanes import LANES
from ftdiff.kernels.mixture_code import MOST, assembly
from ftdiff.kernels.mixture_limits import Mixing
from ftdiff.tensors import Array

_POINTER = ctypes.c_void_p
_ARGUMENTS = (
    *(_POINTER, ctypes.c_int64, _POINTER, _POINTER),
    *(ctypes.c_double, ctypes.c_double, _POINTER, _POINTER, _POINTER),
)

Way: TypeAlias = Callable[[Arithmetic], Traced]


@dataclass(frozen=True, eq=False)
class Mixed:
    """What was added up.

    Attributes
    ----------
    gram
        Products of the first side, the others' changes against it, and the merged one's, each entry
        over the spacing of the merged dtype there; no less than float32 leaves open of the first
        side.
    plain
        ⟨A, A⟩, ⟨B, B⟩ and ‖A − B‖² of the last two sides.
    moved, equal, right
        Entries that any side moves; of these, those that the arithmetic gives, and those whose
        change by `change` is rounded to what is stored, if that is judged.
    low, high
        Between which multiples of the line every entry is rounded to what is stored.
    """

    gram: Array
    plain: Array
    moved: int
    equal: int
    right: int
    low: float
    high: float


class Mixture:
    """Sums over runs of entries of a merged tensor and of what it is held against.

    Parameters
    ----------
    dtypes
        Of the merged tensor, and of the sides, two at least: BF16, F16 or F32.
    way
        The arithmetic that is replayed.
    change
        Coefficients of the first side and of the others' changes: the merged change, exactly.
    line
        The sides between which it is looked for: from the first side towards another (0, 1), from
        one towards another (1, 2), or nowhere. The change lies on it, as far as its last
        coefficient.
    all_
        Whether the first side's products are summed, and the plain ones; they stay zero if not.
    judged
        Whether what the weights round right is counted, and the line's ends are sought.
    target
        The processor to compile for, this one if not given; no bit depends on it.
    """

    def __init__(
        self,
        dtypes: Sequence[str],
        way: Way,
        change: Sequence[float],
        line: tuple[int, int] | None,
        *,
        all_: bool = True,
        judged: bool = True,
        target: Target | None = None,
    ) -> None:
        target = target or host()
        code, numbers = traced(way, dtypes[0], dtypes[1:])
        mixing = Mixing(tuple(dtypes), code, line, all_, judged, target.half, target.fused)
        self._run = function(mixing, target, "mixture", _ARGUMENTS, lambda: assembly(mixing, way))
        self._numbers = np.array([*numbers, 0.0], np.float32)
        self._change = np.array(change, np.float64)
        self._n = len(dtypes)
        self._sums = np.zeros(self._n * (self._n + 1) // 2 + 3)
        self._counts = np.zeros(3, np.int64)
        # without a line there are no ends that go with what is trusted
        self._ends = np.array([-np.inf, np.inf] if line is not None else [0.0, 0.0])
        self._weight = change[-1] if line is not None else 0.0
        self._open = line is None or not judged
        self._most = MOST if np.abs(self._change).max() <= MOST else -1.0

    @staticmethod
    def knows(dtypes: Sequence[str], target: Target | None = None) -> bool:
        """Say whether there is code for these dtypes on this machine."""
        half = (target or host()).half
        return all(one in ("BF16", "F32") or (one == "F16" and half) for one in dtypes)

    def add(self, merged: Array, sides: Sequence[Array]) -> bool:
        """Add a run of entries, flat and as stored; say whether all of them are finite.

        Where one is not, nothing is added.
        """
        arrays = [merged, *sides]
        whole = len(merged) // LANES * LANES
        before = self._sums.copy(), self._counts.copy(), self._ends.copy()
        if whole:
            self._add(arrays, whole // LANES)
        if whole < len(merged):  # zeros move nothing
            ends = []
            for array in arrays:
                end = np.zeros(LANES, array.dtype)
                end[: len(merged) - whole] = array[whole:]
                ends.append(end)
            self._add(ends, 1)
        if np.isfinite(self._sums).all():
            return True
        self._sums, self._counts, self._ends = before
        return False

    def _add(self, arrays: Sequence[Array], steps: int) -> None:
        kept = [np.ascontiguousarray(array) for array in arrays]
        places = (_POINTER * len(kept))(*(array.ctypes.data for array in kept))
        numbers, change, *totals = (
            array.ctypes.data
            for array in (self._numbers, self._change, self._sums, self._counts, self._ends)
        )
        self._run(
            ctypes.addressof(places), steps, numbers, change, self._most, self._weight, *totals
        )

    def done(self) -> Mixed:
        """Return what was added up."""
        gram = np.zeros((self._n, self._n))
        rows, columns = np.triu_indices(self._n)
        gram[rows, columns] = gram[columns, rows] = self._sums[:-3]
        moved, equal, right = self._counts.tolist()
        low, high = (-np.inf, np.inf) if self._open else self._ends.tolist()
        return Mixed(gram, self._sums[-3:].copy(), moved, equal, right, low, high)
