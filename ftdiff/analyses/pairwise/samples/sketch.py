"""A short summary of a change, linear in it, from which norms and angles can still be estimated.

What was measured of a checkpoint can then be held against one that is saved later, without reading
the earlier one again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np

from ftdiff.analyses.pairwise.line import Line
from ftdiff.deltas.forms import Delta, LowRank
from ftdiff.kernels import Stored
from ftdiff.tensors import Array, matrices

#: Numbers kept of each tensor's change.
SIZE = 512


class Sketch:
    """A tensor sketch: entry (i, j) is added, with sign s(i)·t(j), to bucket h(i) + j mod `SIZE`.

    ⟨sketch ΔW₁, sketch ΔW₂⟩ is ⟨ΔW₁, ΔW₂⟩ on average over the draws of h, s and t, with an error
    of about ‖ΔW₁‖‖ΔW₂‖ √(2 / SIZE), and somewhat more for changes of few directions; columns that
    lie `SIZE` apart share their buckets, so a change of two such columns alone is estimated badly.
    The draws depend on the tensor's name alone. Of a product B A it is the circular convolution of
    sketches of B's columns and A's rows (Pham and Pagh, Fast and scalable polynomial kernels via
    explicit feature maps, KDD 2013): at the factors' price.
    """

    passes = 1

    def __init__(self, line: Line) -> None:
        count, rows, self._columns = matrices(line.address.name, line.shape)
        draw = np.random.Generator(np.random.Philox(key=crc32(line.address.name.encode())))
        self._shift = draw.integers(0, SIZE, count * rows)
        self._row_sign = draw.choice((-1.0, 1.0), count * rows)
        self._column_sign = draw.choice((-1.0, 1.0), self._columns)
        self._sums = np.zeros((len(line.recipes), SIZE))

    def of_changes(self, deltas: Mapping[int, Delta]) -> bool:
        """Take it from factors where all changes are products of two."""
        if not all(isinstance(delta, LowRank) for delta in deltas.values()):
            return False
        for i, delta in deltas.items():
            assert isinstance(delta, LowRank)
            self._sums[i] = self._of_product(delta)
        return True

    def of_stored(self, base: Stored, tuned: Sequence[Stored | None], own: Sequence[int]) -> bool:
        """Say that the entries are needed."""
        return False

    def of_entries(self, D: Array, own: Sequence[int], start: int, passing: int) -> None:
        """Add whole rows: fold each over `SIZE` columns, and turn it by its own shift."""
        if passing or not D.size:
            return
        first, rows = start // self._columns, D.shape[1] // self._columns
        here = slice(first, first + rows)
        signs = self._row_sign[here, None] * self._column_sign
        folded = _folded(D.reshape(len(own), rows, self._columns) * signs)
        place = (self._shift[here, None] + np.arange(folded.shape[2])) % SIZE
        for row, i in zip(folded, own, strict=True):
            self._sums[i] += np.bincount(place.ravel(), row.ravel(), SIZE)

    def _of_product(self, delta: LowRank) -> Array:
        rows, columns = delta.finite()
        B = np.where(rows[:, None], delta.B, 0).T.astype(np.float64) * self._row_sign
        A = np.where(columns, delta.A, 0).astype(np.float64) * self._column_sign
        tall = np.stack([np.bincount(self._shift, b, SIZE) for b in B]) if len(B) else B
        wide = _folded(A)
        both = np.fft.rfft(tall, SIZE) * np.fft.rfft(wide, SIZE)
        return delta.scaling * np.fft.irfft(both.sum(axis=0), SIZE)

    def found(self) -> Mapping[str, Array]:
        """Return `sums`, n × SIZE, to the precision in which they are kept."""
        return {"sums": self._sums.astype(np.float32).astype(np.float64)}


def _folded(X: Array) -> Array:
    """Add up the columns that are `SIZE` apart."""
    width = X.shape[-1]
    if width <= SIZE:
        return X
    more = -width % SIZE
    if not more:
        return np.asarray(X.reshape(*X.shape[:-1], -1, SIZE).sum(axis=-2))
    padded = np.pad(X, [(0, 0)] * (X.ndim - 1) + [(0, more)])
    return np.asarray(padded.reshape(*X.shape[:-1], -1, SIZE).sum(axis=-2))
