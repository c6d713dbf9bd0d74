"""Tensors that are in memory already."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ftdiff.tensors.lazy import CODES, Array


@dataclass(frozen=True, eq=False)
class ArrayTensor:
    """A tensor that is in memory already; equal to itself alone, so that it can be a key."""

    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> str:
        """The array's dtype, as a safetensors code."""
        return CODES.get(self.array.dtype, str(self.array.dtype))

    @property
    def storage(self) -> Hashable:
        """Nothing is claimed of arrays: they are compared by their values."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows."""
        return np.array(self.array[rows] if self.shape else self.array)

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend a flat view (a copy where the array is not contiguous)."""
        yield self.array.reshape(-1)[start:stop]
