"""A weight whose codes lie row by row, and whose scales belong to blocks of rows × columns."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ftdiff.errors import BadFile
from ftdiff.formats.quantised import codes as packing
from ftdiff.formats.quantised.codes import Codes
from ftdiff.formats.quantised.described import places
from ftdiff.formats.quantised.scales import Shared
from ftdiff.formats.quantised.tile import CHUNK, Tile
from ftdiff.tensors import Array, LazyTensor, numel


@dataclass(frozen=True)
class Blocks:
    """Where such a weight lies.

    Parameters
    ----------
    shape
        The weight's.
    width
        The entries of a row of blocks: the last axis, or a block where blocks run on over rows.
    codes
        The codes of each row.
    table
        The levels: a kind, as `codes.levels` takes it, or a tensor of them.
    scales, zeros, offsets
        What blocks share: W = (level − zero) · scale · unit + offset.
    block
        The columns that share a number; the last block of a row may be cut short.
    groups
        The block of each column; None where blocks are runs of columns.
    """

    shape: tuple[int, ...]
    width: int
    block: int
    codes: Codes
    table: str | LazyTensor
    scales: Shared
    zeros: Shared | None = None
    offsets: Shared | None = None
    groups: LazyTensor | None = None
    unit: float = 1.0

    @property
    def storage(self) -> Hashable:
        """The places of its parts, and what is made of them."""
        shared = [one for one in (self.scales, self.zeros, self.offsets) if one is not None]
        tensors = [self.codes.tensor, *([] if self.groups is None else [self.groups])]
        if not isinstance(self.table, str):
            tensors.append(self.table)
        found = places(*tensors)
        if found is None or any(one.storage is None for one in shared):
            return None
        kind = self.table if isinstance(self.table, str) else ""
        told = (type(self.codes).__name__, kind, self.shape, self.width, self.block, self.unit)
        return found, tuple(one.storage for one in shared), told

    def levels(self) -> Array:
        """Return the levels, of which a tensor may hold its own."""
        if isinstance(self.table, str):
            return packing.levels(self.table)
        return self.table.read().astype(np.float32)

    def tiles(self, first: int, last: int) -> Iterator[Tile]:
        """Yield whole rows, about as many as a chunk holds."""
        step = max(1, CHUNK // max(1, self.width))
        own = self.codes.stored(self.width)
        size = numel(self.codes.tensor.shape)
        shared = [self._read(one, first, last) for one in (self.scales, self.zeros, self.offsets)]
        with self.codes.tensor.window(first * own, min(last * own, size)) as run:
            if run.size < (last - first) * own:  # the last block is cut short
                run = np.concatenate([run, np.zeros((last - first) * own - run.size, run.dtype)])
            rows = run.reshape(last - first, own)
            for start in range(0, last - first, step):
                stop = min(start + step, last - first)
                codes = self.codes.unpack(rows[start:stop], self.width)
                across = (slice(start, stop), slice(0, self.width))
                yield self._tile(across, codes, [self._of(one, start, stop) for one in shared])

    def _read(
        self, shared: Shared | None, first: int, last: int
    ) -> tuple[Array, Array | None] | None:
        """Return what these rows share, and which row of it is whose where several are one's."""
        if shared is None:
            return None
        low, high = first // shared.height, -(-last // shared.height)
        numbers = shared.read(low, high)
        whose = None if shared.height == 1 else np.arange(first, last) // shared.height - low
        return numbers, whose

    def _of(self, found: tuple[Array, Array | None] | None, start: int, stop: int) -> Array | None:
        if found is None:
            return None
        numbers, whose = found
        return numbers[start:stop] if whose is None else numbers[whose[start:stop]]

    def _tile(self, where: tuple[slice, slice], codes: Array, shared: list[Array | None]) -> Tile:
        scales, zeros, offsets = shared
        assert scales is not None
        if self.groups is not None:
            groups = groups_of(self.groups, scales.shape[1])
            return Tile(*where, codes, scales, zeros, offsets, groups)
        if scales.shape[1] > 1:
            if self.width % self.block == 0:
                codes = codes.reshape(len(codes), -1, self.block)
                scales, zeros, offsets = (_beside(one) for one in (scales, zeros, offsets))
            else:
                spread = [self._spread(one) for one in (scales, zeros, offsets)]
                scales, zeros, offsets = spread
        assert scales is not None
        return Tile(*where, codes, scales, zeros, offsets)

    def _spread(self, numbers: Array | None) -> Array | None:
        """Repeat what blocks share over their columns."""
        if numbers is None:
            return None
        return np.repeat(numbers, self.block, axis=1)[:, : self.width]


def _beside(numbers: Array | None) -> Array | None:
    return None if numbers is None else numbers[:, :, None]


@lru_cache(maxsize=64)
def groups_of(tensor: LazyTensor, count: int) -> Array:
    """Return the block of each column, of so many.

    Raises
    ------
    BadFile
        It names one that there is no scale for.
    """
    found = tensor.read().astype(np.int64)
    if found.size and not 0 <= found.min() <= found.max() < count:
        raise BadFile(f"g_idx names group {found.max()} of {count}")
    return found
