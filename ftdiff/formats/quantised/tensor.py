"""A weight that is stored as codes and scales, and lends its values dequantised."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from ftdiff.errors import BadFile
from ftdiff.tensors import DTYPES, Array, numel


class Packing(Hashable, Protocol):
    """How codes and scales of one weight lie in the file; frozen, picklable, holds lazy tensors."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape, as the model has it."""

    @property
    def storage(self) -> Hashable:
        """Where the bytes are; None where nothing is claimed."""

    @property
    def unit(self) -> float:
        """What every product of level and scale is multiplied by, in float32."""

    def levels(self) -> Array:
        """Return the level of each code, float32."""

    def codes(self, start: int, stop: int) -> Array:
        """Return the codes of these entries, flat; indices into `levels`."""

    def scales(self, start: int, stop: int) -> Array:
        """Return the scales of these entries, flat, float32."""


@dataclass(frozen=True)
class Quantised:
    """A lazy tensor over a packing: only the blocks that a read touches are dequantised.

    Parameters
    ----------
    packing
        Where codes and scales are.
    scheme
        What it is called: NF4, INT8, F8_E4M3, ….
    dtype
        The float dtype in which the values are lent: products of float32, rounded once.
    place
        Source and name, for complaints.
    """

    packing: Packing
    scheme: str
    dtype: str
    place: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape."""
        return self.packing.shape

    @property
    def storage(self) -> Hashable:
        """The packing's bytes, as this scheme and dtype read them."""
        found = self.packing.storage
        return None if found is None else (self.scheme, self.dtype, found)

    def read(self, rows: slice = slice(None)) -> Array:
        """Return these rows, dequantised."""
        if not self.shape:
            return self._values(0, 1).reshape(())
        start, stop, step = rows.indices(self.shape[0])
        width = numel(self.shape[1:])
        flat = self._values(start * width, max(start, stop) * width)
        return flat.reshape(max(stop - start, 0), *self.shape[1:])[::step]

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend these entries, dequantised."""
        yield self._values(start, stop)

    def held(self, dtype: str) -> Quantised:
        """Return the same weight, lent in another dtype."""
        return replace(self, dtype=dtype)

    def cells(self, start: int, stop: int) -> tuple[Array, Array]:
        """Return what rounds to the stored codes: the least and the largest value, float32, flat.

        A cell ends half-way to the next level; the outermost have no end.
        """
        below, above = _edges(self.packing)
        codes, scales = self._parts(start, stop)
        scales = scales * np.float32(self.packing.unit)
        with np.errstate(invalid="ignore"):  # no scale, and no end: nothing is known
            ends = below[codes] * scales, above[codes] * scales
        return np.minimum(*ends), np.maximum(*ends)

    def _values(self, start: int, stop: int) -> Array:
        if stop <= start:
            return np.empty(0, DTYPES[self.dtype])
        with np.errstate(all="ignore"):  # beyond the largest number of the dtype: an infinity
            codes, scales = self._parts(start, stop)
            values = _levels(self.packing)[codes]
            values *= scales
            values *= np.float32(self.packing.unit)
            return values.astype(DTYPES[self.dtype])

    def _parts(self, start: int, stop: int) -> tuple[Array, Array]:
        try:
            return self.packing.codes(start, stop), self.packing.scales(start, stop)
        except BadFile as error:
            raise BadFile(f"{self.place}: {error}") from error


@dataclass(frozen=True)
class Broken:
    """A weight whose siblings contradict it: reading it says so."""

    shape: tuple[int, ...]
    reason: str
    dtype: str

    @property
    def storage(self) -> Hashable:
        """Nothing is claimed."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Raise the complaint."""
        raise BadFile(self.reason)

    def window(self, start: int, stop: int) -> AbstractContextManager[Array]:
        """Raise the complaint."""
        raise BadFile(self.reason)


@lru_cache(maxsize=256)
def _levels(packing: Packing) -> Array:
    return packing.levels()


@lru_cache(maxsize=256)
def _edges(packing: Packing) -> tuple[Array, Array]:
    """Return the ends of each code's cell, in units of its scale."""
    levels = _levels(packing)
    distinct = np.unique(levels[np.isfinite(levels)])
    middles = (distinct[1:] + distinct[:-1]) / 2
    ends = np.concatenate([[-np.inf], middles, [np.inf]]).astype(np.float32)
    place = np.searchsorted(distinct, levels)
    place[~np.isfinite(levels)] = 0
    return ends[place], ends[np.minimum(place + 1, len(ends) - 1)]
