"""The transpose of a matrix, or of some of its columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ftdiff.tensors.lazy import DTYPES, Array, LazyTensor
from ftdiff.tensors.strips import is_near, strip
from ftdiff.tensors.view import View


@dataclass(frozen=True)
class Turned(View):
    """Columns of a matrix as rows: all of them, or every `step`-th of a run.

    Parameters
    ----------
    tensor
        The matrix.
    first, step
        The first of its columns, and how far apart they are.
    count
        How many; None for all from the first on.
    """

    first: int = 0
    step: int = 1
    count: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Columns × rows."""
        rows, width = self.tensor.shape
        columns = range(self.first, width, self.step)
        return len(columns) if self.count is None else self.count, rows

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend a copy of elements; only the columns that hold them are asked for."""
        height, width = self.tensor.shape
        if stop <= start:
            yield np.empty(0, DTYPES[self.dtype])
            return
        first, last = start // height, -(-stop // height)
        columns = range(self.first + first * self.step, self.first + (last - 1) * self.step + 1)
        with strip(self.tensor, width, range(height), columns) as block:
            flat = np.ascontiguousarray(block[:, :: self.step].T).reshape(-1)
        yield flat[start - first * height : stop - first * height]


def costs_a_matrix(tensor: LazyTensor) -> bool:
    """Say whether a few rows of a tensor are asked of all rows of a source that is far away."""
    held: LazyTensor | None = tensor
    while held is not None:
        if isinstance(held, Turned):
            return not is_near(held.tensor)
        held = getattr(held, "behind", None)
    return False
