"""Inner products of changes that files hold entry by entry: every file is read once, side by side.

The kernel takes all changes in float32 and multiplies and sums in float64, a row of products for
each run of entries that is cut by position; the rows are added exactly.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from ftdiff import kernels
from ftdiff.analyses.pairwise.base_sums import BaseSums
from ftdiff.analyses.pairwise.line import Line
from ftdiff.analyses.pairwise.samples import Probe
from ftdiff.analyses.pairwise.stored_runs import Runs
from ftdiff.deltas.moments import exact
from ftdiff.deltas.recipes import Recipe, Replaced, StoredDelta
from ftdiff.errors import FtdiffError
from ftdiff.kernels import CHANGED, ROW, Stored
from ftdiff.tensors import DTYPES, Array, LazyTensor, matrices, numel

#: Bytes of all tensors that are lent at a time, and at least a row of each.
_LENT = 32 << 20
#: Terms that are held before they are added up.
_TERMS = 1 << 18
#: Dtypes that are read, and that the kernel takes.
_DTYPES = CHANGED & DTYPES.keys()


@dataclass(frozen=True, eq=False)
class Products:
    """What is known of changes that are all stored.

    Attributes
    ----------
    inner
        float64, n × n: ⟨ΔWᵢ, ΔWⱼ⟩ over the entries that are finite.
    nonfinite
        int64, n: entries of each that are not finite.
    base_sq, power_sq
        As in `Together`.
    """

    inner: Array
    nonfinite: Array
    base_sq: float
    power_sq: float


def from_stored(line: Line, base: bool, probes: Sequence[Probe] = ()) -> Products | None:
    """Return all inner products, of changes as float32 has them, and fill probes on the way.

    None where a change is not stored, or in a dtype that float32 does not hold, and where a file
    cannot be read: the probes are then not to be used any more.

    Parameters
    ----------
    line
        What is measured.
    base
        Whether the base's own sums are asked for.
    probes
        What is given all entries in the same reading, and in others where it has more passes.
    """
    changing = [(i, recipe) for i, recipe in enumerate(line.recipes) if recipe is not None]
    if not all(_is_stored(recipe, line.base) for _, recipe in changing):
        return None
    if line.base is not None and line.base.dtype not in _DTYPES:
        return None
    # Of the same bytes one is read, and of the base's own none: there is no change.
    places: dict[Hashable, int] = {}
    tensors: list[tuple[LazyTensor, bool]] = []
    row = np.full(len(line.recipes), -1)
    for i, recipe in changing:
        assert isinstance(recipe, Replaced | StoredDelta)
        if isinstance(recipe, Replaced) and recipe.is_of(line.base):
            continue
        tensor, delta = recipe.tensor, isinstance(recipe, StoredDelta)
        key = i if tensor.storage is None else (tensor.storage, tensor.dtype, delta)
        row[i] = places.setdefault(key, len(tensors))
        if row[i] == len(tensors):
            tensors.append((tensor, delta))
    own = [i for i, _ in changing]
    columns = matrices(line.address.name, line.shape)[2]
    runs = Runs(probes, own, row[own].tolist(), columns) if probes else None
    try:
        found = _read(line.base, tensors, numel(line.shape), base, runs)
    except (FtdiffError, MemoryError):  # whoever reads them one by one says which
        return None
    here = np.flatnonzero(row >= 0)
    inner, nonfinite = np.zeros((len(row), len(row))), np.zeros(len(row), np.int64)
    inner[np.ix_(here, here)] = found.inner[np.ix_(row[here], row[here])]
    nonfinite[here] = found.nonfinite[row[here]]
    return Products(inner, nonfinite, found.base_sq, found.power_sq)


def _is_stored(recipe: Recipe, base: LazyTensor | None) -> bool:
    if isinstance(recipe, Replaced):
        return base is not None and recipe.dtype in _DTYPES
    return isinstance(recipe, StoredDelta) and recipe.tensor.dtype in _DTYPES


def _read(
    base: LazyTensor | None,
    tensors: Sequence[tuple[LazyTensor, bool]],
    size: int,
    sums: bool,
    runs: Runs | None,
) -> Products:
    n = len(tensors)
    total = _Total(n)
    nonfinite, own = np.zeros(n, np.int64), BaseSums()
    if base is not None and all(delta for _, delta in tensors) and not (sums or runs):
        base = None  # nobody asks for it
    for passing in range(runs.passes if runs is not None else 1):
        for start, W, tuned in _lent(base, tensors, size):
            if not passing:
                if W is not None and sums:
                    own.add(W.entries, W.dtype)
                entries, dtype = (None, "") if W is None else (W.entries, W.dtype)
                products, lost = kernels.change_products(entries, dtype, tuned)
                total.add(products)
                nonfinite += lost
            if runs is not None:
                runs.take(W, tuned, start, passing)
    inner = total.found()
    known = (float("nan"), float("nan")) if base is None or not sums else own.totals()
    return Products(inner, nonfinite, *known)


def _lent(
    base: LazyTensor | None, tensors: Sequence[tuple[LazyTensor, bool]], size: int
) -> Iterator[tuple[int, Stored | None, list[Stored]]]:
    """Lend runs of all tensors, with where they begin."""
    every = [*([] if base is None else [base]), *(tensor for tensor, _ in tensors)]
    for start, stop in _runs(every, size):
        with ExitStack() as lent:
            W = None if base is None else Stored(
                lent.enter_context(base.window(start, stop)), base.dtype
            )  # fmt: skip
            yield start, W, [
                Stored(lent.enter_context(tensor.window(start, stop)), tensor.dtype, delta)
                for tensor, delta in tensors
            ]  # fmt: skip


def _runs(tensors: Sequence[LazyTensor], size: int) -> Iterator[tuple[int, int]]:
    """Cut the entries into whole rows."""
    entry = sum(DTYPES[tensor.dtype].itemsize for tensor in tensors)
    step = max(1, _LENT // max(1, entry) // ROW) * ROW
    for start in range(0, size, step):
        yield start, min(start + step, size)


class _Total:
    """Matrices added up exactly: in any order, the same bits."""

    def __init__(self, n: int) -> None:
        self._n, self._above = n, np.triu_indices(n)
        self._terms: list[Array] = [np.zeros((0, len(self._above[0])))]
        self._held = 0

    def add(self, matrices: Array) -> None:
        """Add symmetric matrices, k × n × n."""
        self._terms.append(matrices[:, *self._above])
        self._held += self._terms[-1].size
        if self._held > _TERMS:
            self._terms = [self._exact()]
            self._held = self._terms[0].size

    def found(self) -> Array:
        """Return the sum, rounded once."""
        total = np.zeros((self._n, self._n))
        total[self._above] = total.T[self._above] = self._exact()[0]
        return total

    def _exact(self) -> Array:
        """Return a few terms with the same sums, the first of them the sums rounded."""
        columns = [exact(column) for column in np.concatenate(self._terms).T.tolist()]
        found = np.zeros((max(map(len, columns), default=1), len(columns)))
        for k, column in enumerate(columns):
            found[: len(column), k] = column
        return found
