"""Numbers that blocks of entries share: scales, zeros and offsets."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ftdiff.formats.quantised.codes import levels, unpacked
from ftdiff.formats.quantised.described import places
from ftdiff.tensors import DTYPES, Array, FileTensor, LazyTensor

#: Scales that are exponents: 2^(x − 127).
_EXPONENTS = "U8"


class Shared(Hashable, Protocol):
    """Numbers of blocks of rows × columns, each block a row or more high."""

    @property
    def height(self) -> int:
        """The rows that share a number."""

    @property
    def storage(self) -> Hashable:
        """Where the bytes are; None where nothing is claimed."""

    def read(self, first: int, last: int) -> Array:
        """Return the numbers of these rows of blocks, blocks down × across, float32."""


@dataclass(frozen=True)
class Scales:
    """Numbers that are stored one for each block, row by row.

    Parameters
    ----------
    tensor
        Whole numbers, floats, or bytes.
    height
        The rows that share a number.
    across
        The blocks beside each other.
    kind
        What bytes stand for, where they are no numbers of their dtype: "U8", an exponent, or a
        float dtype.
    factor, divided
        A number that all are multiplied by, or divided by.
    """

    tensor: LazyTensor
    height: int
    across: int
    kind: str = ""
    factor: LazyTensor | None = None
    divided: bool = False

    @property
    def storage(self) -> Hashable:
        """The places of its parts, and how they are read."""
        parts = (self.tensor,) if self.factor is None else (self.tensor, self.factor)
        found = places(*parts)
        told = (self.height, self.across, self.kind, self.divided)
        return None if found is None else (found, told)

    def read(self, first: int, last: int) -> Array:
        """Read and decode them."""
        with self.tensor.window(first * self.across, last * self.across) as stored:
            numbers = decoded(stored, self.kind or self.tensor.dtype)
        if self.factor is not None:
            factor = self.factor.read().astype(np.float32).reshape(-1)[:1]
            numbers = numbers / factor if self.divided else numbers * factor
        return numbers.reshape(last - first, self.across)


@dataclass(frozen=True)
class PackedZeros:
    """Zeros of some bits, in words of 32 down the rows; as whole numbers about 2^(bits − 1)."""

    tensor: LazyTensor
    bits: int
    across: int
    height: int = 1

    @property
    def storage(self) -> Hashable:
        """The place of the words."""
        found = places(self.tensor)
        return None if found is None else (found, self.bits, self.across)

    def read(self, first: int, last: int) -> Array:
        """Read the words of these rows: 32 numbers are as many words as one has bits."""
        low = first // 32 * self.bits
        high = min(-(-last // 32) * self.bits, self.tensor.shape[0])
        with self.tensor.window(low * self.across, high * self.across) as stored:
            words = stored.reshape(high - low, self.across).T
            numbers = unpacked(words, self.bits).T.astype(np.float32) - (1 << (self.bits - 1))
        start = first - first // 32 * 32
        found: Array = numbers[start : start + last - first]
        return found


@dataclass(frozen=True)
class Tiled:
    """Scales of rows, in the order in which tensor cores take them: tiles of 128 rows × 4 blocks.

    Byte (r mod 32) · 16 + (r div 32) · 4 + b of a tile is of its row r and block b; rows and
    blocks are filled up to whole tiles.
    """

    tensor: LazyTensor
    across: int
    kind: str
    factor: LazyTensor | None = None
    height: int = 1

    @property
    def storage(self) -> Hashable:
        """The places of its parts."""
        parts = (self.tensor,) if self.factor is None else (self.tensor, self.factor)
        found = places(*parts)
        return None if found is None else (found, self.across, self.kind)

    def read(self, first: int, last: int) -> Array:
        """Read the tiles of these rows."""
        low, high, beside = first // 128, -(-last // 128), -(-self.across // 4)
        with self.tensor.window(low * beside * 512, high * beside * 512) as stored:
            numbers = decoded(stored, self.kind).reshape(high - low, beside, 32, 4, 4)
        rows = numbers.transpose(0, 3, 2, 1, 4).reshape((high - low) * 128, beside * 4)
        if self.factor is not None:
            rows = rows * self.factor.read().astype(np.float32).reshape(-1)[:1]
        found: Array = rows[first - low * 128 : last - low * 128, : self.across]
        return found


def decoded(stored: Array, kind: str) -> Array:
    """Return stored numbers as float32."""
    if kind == _EXPONENTS:
        exponents: Array = np.exp2(stored.view(np.uint8).astype(np.float32) - 127)
        return exponents
    if kind.startswith("F8"):
        return np.take(levels(kind), stored.view(np.uint8))
    return stored.astype(np.float32)


def as_bytes(tensor: LazyTensor) -> LazyTensor:
    """Return a tensor of a dtype of one byte that NumPy lacks, as its bytes."""
    if tensor.dtype not in DTYPES and isinstance(tensor, FileTensor):
        return replace(tensor, dtype="U8")
    return tensor
