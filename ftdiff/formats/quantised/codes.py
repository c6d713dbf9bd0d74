"""How the codes of a row lie in stored numbers, and the level that each stands for."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ftdiff.tensors import DTYPES, Array, LazyTensor

#: The levels of a sign, two bits of exponent and one of mantissa, by their bits.
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


class Codes(Hashable, Protocol):
    """Codes of rows, each of which begins with a stored number of its own."""

    @property
    def tensor(self) -> LazyTensor:
        """The stored numbers."""

    def stored(self, width: int) -> int:
        """Return how many numbers hold a row of so many codes."""

    def unpack(self, numbers: Array, width: int) -> Array:
        """Return rows × width codes of rows of stored numbers."""


@dataclass(frozen=True)
class Bytes:
    """A code is a byte."""

    tensor: LazyTensor

    def stored(self, width: int) -> int:
        """Return the codes of a row."""
        return width

    def unpack(self, numbers: Array, width: int) -> Array:
        """Return a copy of the bytes."""
        return numbers.view(np.uint8).copy()


@dataclass(frozen=True)
class Nibbles:
    """Two codes a byte, the first in the low bits, or in the high ones."""

    tensor: LazyTensor
    high_first: bool = False

    def stored(self, width: int) -> int:
        """Return the bytes of a row."""
        return -(-width // 2)

    def unpack(self, numbers: Array, width: int) -> Array:
        """Take the bytes apart."""
        return nibbles(numbers, self.high_first)[:, :width]


@dataclass(frozen=True)
class Bits:
    """Codes of some bits one after the other, from the lowest bit of words of 32."""

    tensor: LazyTensor
    bits: int

    def stored(self, width: int) -> int:
        """Return the words of a row."""
        return -(-width * self.bits // 32)

    def unpack(self, numbers: Array, width: int) -> Array:
        """Take the words apart."""
        return unpacked(numbers, self.bits)[:, :width]


def nibbles(numbers: Array, high_first: bool = False) -> Array:
    """Return the halves of each byte of rows, in order."""
    codes = np.empty((len(numbers), 2 * numbers.shape[1]), np.uint8)
    np.right_shift(numbers, 4, out=codes[:, 1 - high_first :: 2])
    np.bitwise_and(numbers, 15, out=codes[:, int(high_first) :: 2])
    return codes


def unpacked(words: Array, bits: int) -> Array:
    """Return the codes in rows of words, as many as fit, and some of what is left over."""
    held = np.ascontiguousarray(words).view(np.uint8)
    if bits == 8:
        return held.copy()
    if bits == 4:
        return nibbles(held)
    groups = -(-held.shape[1] // bits)  # eight codes are `bits` bytes
    padded = np.zeros((len(held), groups, bits + 1), np.uint8)
    whole = held.shape[1] // bits
    padded[:, :whole, :bits] = held[:, : whole * bits].reshape(len(held), whole, bits)
    if whole < groups:
        rest = held[:, whole * bits :]
        padded[:, whole, : rest.shape[1]] = rest
    codes = np.empty((len(held), groups, 8), np.uint8)
    for i in range(8):
        byte, shift = divmod(i * bits, 8)
        code = padded[:, :, byte] >> shift
        if shift + bits > 8:
            code |= padded[:, :, byte + 1] << (8 - shift)
        np.bitwise_and(code, (1 << bits) - 1, out=codes[:, :, i])
    return codes.reshape(len(held), -1)


def levels(kind: str) -> Array:
    """Return the level of each code, float32.

    Parameters
    ----------
    kind
        A dtype of one byte; "E2M1"; or how many bits, of whole numbers from 0 ("U4") or about it
        ("S4", of which the lowest is −8).

    Examples
    --------
    >>> levels("S2").tolist(), levels("E2M1")[9:11].tolist()
    ([-2.0, -1.0, 0.0, 1.0], [-0.5, -1.0])
    """
    if kind == "E2M1":
        return np.array([*_E2M1, *(-level for level in _E2M1)], np.float32)
    if kind in DTYPES:
        return np.arange(256, dtype=np.uint8).view(DTYPES[kind]).astype(np.float32)
    count = 1 << int(kind[1:])
    low = count // 2 if kind[0] == "S" else 0
    return np.arange(-low, count - low, dtype=np.float32)
