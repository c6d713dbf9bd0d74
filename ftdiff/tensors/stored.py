"""Tensors that lie entry by entry in a source of bytes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ftdiff.errors import BadFile
from ftdiff.tensors.lazy import DTYPES, Array, read_rows
from ftdiff.tensors.source import Source


@dataclass(frozen=True)
class FileTensor:
    """A tensor at an offset of a source, whose header was checked against the source's size."""

    source: Source
    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def path(self) -> str:
        """The name of the source."""
        return self.source.name

    @property
    def storage(self) -> Hashable:
        """The source's bytes, and the offset in them."""
        return self.source.identity, self.offset

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows.

        Raises
        ------
        BadFile
            The file has changed since it was opened, or its dtype has no NumPy counterpart.
        """
        return read_rows(self, rows)

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend elements as the source lends their bytes."""
        dtype = DTYPES.get(self.dtype)
        if dtype is None:
            raise BadFile(f"{self.path}: dtype {self.dtype} cannot be read")
        if stop <= start:
            yield np.empty(0, dtype)
            return
        first = self.offset + start * dtype.itemsize
        with self.source.lend(first, self.offset + stop * dtype.itemsize) as lent:
            yield np.frombuffer(lent, dtype, stop - start)
