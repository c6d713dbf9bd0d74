"""Some numbers of a change, linear in it, from which angles can still be estimated."""

from __future__ import annotations

from zlib import crc32

import numpy as np

from ftdiff.deltas.forms.factor_stack import Stack
from ftdiff.kernels import row_products
from ftdiff.tensors import Array

#: The bits of 1 in each dtype, and how far its sign is from the first bit.
_ONE = {"BF16": (0x3F80, 15), "F16": (0x3C00, 15), "F32": (0x3F800000, 31)}


def sketches(stack: Stack, name: str, count: int) -> Array:
    """Return uₖᵀ ΔW vₖ of `count` pairs of random signs, a row of float32 for each change.

    The mean of their products over k is ⟨ΔW₁, ΔW₂⟩ on average over the signs, which depend on the
    name alone. The variance of one product is at most 8 ‖ΔW₁‖²‖ΔW₂‖², and about as much as
    ‖ΔW₁‖²‖ΔW₂‖² where the changes have many directions.
    """
    total = np.ones(())
    for side, which in zip(stack.sides, "uv", strict=True):
        draws = _signs(f"{name} {which}", count, side.shape[1], stack.dtype, side.dtype)
        total = total * row_products(side, draws, stack.dtype)
    with np.errstate(all="ignore"):
        found = np.add.reduceat(total, stack.starts, axis=0) * stack.scaling[:, None]
        return np.asarray(found, np.float32)


def _signs(seed: str, count: int, length: int, dtype: str, bits: np.dtype[np.generic]) -> Array:
    draw = np.random.Generator(np.random.Philox(key=crc32(seed.encode())))
    one, place = _ONE[dtype]
    drawn = np.unpackbits(np.frombuffer(draw.bytes(count * -(-length // 8)), np.uint8))
    drawn = drawn.reshape(count, -1)[:, :length]
    unsigned = np.dtype(f"u{bits.itemsize}")
    found = drawn.astype(unsigned) << unsigned.type(place) | unsigned.type(one)
    return np.ascontiguousarray(found).view(bits)
