"""Which entries changed at all: how the sparse updates of stored checkpoints overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ftdiff import kernels
from ftdiff.analyses.pairwise.line import Line
from ftdiff.deltas.forms import Delta
from ftdiff.kernels import Stored
from ftdiff.tensors import Array

#: Dtypes whose values are the same where their bits are but for the sign of a zero: the bits of a
#: magnitude, and the least of those that are not finite.
_MAGNITUDE = {"BF16": (0x7FFF, 0x7F80), "F16": (0x7FFF, 0x7C00), "F32": (0x7FFFFFFF, 0x7F800000)}


class Masks:
    """Entries that differ from the base, counted for every pair of fine-tunes.

    Only stored weights have a mask: an adapter that was not merged changes every entry that it
    touches, by construction.
    """

    passes = 1

    def __init__(self, line: Line) -> None:
        count = len(line.recipes)
        self._stored = [bool(recipe and recipe.dtype) for recipe in line.recipes]
        self._both = np.zeros((count, count))

    def of_changes(self, deltas: Mapping[int, Delta]) -> bool:
        """Say that there is nothing to be read: these are adapters."""
        return True

    def of_stored(self, base: Stored, tuned: Sequence[Stored | None], own: Sequence[int]) -> bool:
        """Compare bits, where all are stored as the base is and all are finite."""
        rows = [one or base for one in tuned]
        if base.dtype not in _MAGNITUDE or any(
            one.delta or one.dtype != base.dtype for one in rows if one is not base
        ):
            return False
        if not all(map(_is_finite, {id(one): one for one in (base, *rows)}.values())):
            return False
        changed = [Stored(_unlike(base, one), "BOOL", delta=True) for one in rows]
        self._both[np.ix_(own, own)] += kernels.change_products(None, "", changed)[0].sum(axis=0)
        return True

    def of_entries(self, D: Array, own: Sequence[int], start: int, passing: int) -> None:
        """Count the entries that two of them changed."""
        changed = np.ascontiguousarray(D != 0, np.float32)
        self._both[np.ix_(own, own)] += kernels.gram(changed)

    def found(self) -> Mapping[str, Array]:
        """Return `both`, n × n: entries that i and j changed; on the diagonal those of one."""
        both = self._both.copy()
        for i, stored in enumerate(self._stored):
            if not stored:
                both[i, :] = both[:, i] = np.nan
        return {"both": both}


def _bits(stored: Stored) -> Array:
    return stored.entries.view(f"u{stored.entries.itemsize}")


def _is_finite(stored: Stored) -> bool:
    magnitude, infinite = _MAGNITUDE[stored.dtype]
    bits = _bits(stored)
    return not bits.size or int((bits & bits.dtype.type(magnitude)).max()) < infinite


def _unlike(base: Stored, tuned: Stored) -> Array:
    """Say which entries have another value."""
    a, b = _bits(base), _bits(tuned)
    magnitude = a.dtype.type(_MAGNITUDE[base.dtype][0])
    return np.asarray((a != b) & (((a | b) & magnitude) != 0))
