"""What a tensor is before its bytes are wanted: a shape and a dtype; and what dtypes hold."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import ml_dtypes
import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

#: safetensors' dtype codes and the NumPy dtypes that hold their bits.
DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
#: The codes of NumPy's dtypes.
CODES = {dtype: code for code, dtype in DTYPES.items()}


class LazyTensor(Hashable, Protocol):
    """What every tensor answers before, and when, its bytes are wanted."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, as in the file's header."""

    @property
    def dtype(self) -> str:
        """The storage dtype, one of the keys of `DTYPES` where it can be read."""

    @property
    def storage(self) -> Hashable:
        """Where the bytes are: equal for two tensors only if they are the same bytes; or None."""

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows (of the first axis), in the stored dtype."""

    def window(self, start: int, stop: int) -> AbstractContextManager[Array]:
        """Lend elements `start` to `stop`, flat and as stored; not to be kept after the block."""


def read_rows(tensor: LazyTensor, rows: slice) -> Array:
    """Return a copy of a tensor's rows, of one window; of a scalar, the scalar."""
    if not tensor.shape:
        with tensor.window(0, 1) as flat:
            return flat.reshape(()).copy()
    start, stop, step = rows.indices(tensor.shape[0])
    width = numel(tensor.shape[1:])
    with tensor.window(start * width, max(start, stop) * width) as flat:
        return flat.reshape(max(stop - start, 0), *tensor.shape[1:])[::step].copy()


@lru_cache(maxsize=256)
def precision(dtype: str) -> tuple[float, int] | None:
    """Return a float dtype's spacing at 1.0 and least normal exponent; None where there is none.

    >>> precision("BF16"), precision("I64")
    ((0.0078125, -126), None)
    """
    held = DTYPES.get(dtype)
    if held is None or held.kind in "biu":
        return None
    facts = ml_dtypes.finfo(held)
    return float(facts.eps), int(facts.minexp)


def numel(shape: tuple[int, ...]) -> int:
    """Return the number of elements of a shape; 1 for a scalar."""
    return math.prod(shape)


def nbytes(tensor: LazyTensor) -> int:
    """Return the number of bytes that the tensor's values take in its file."""
    dtype = DTYPES.get(tensor.dtype)
    return numel(tensor.shape) * (dtype.itemsize if dtype is not None else 1)


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return rows × columns: output channels against all the rest; a vector is one column."""
    if not shape:
        return 1, 1
    return shape[0], numel(shape[1:])


def matrices(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return how many matrices a tensor holds, and the rows and columns of each.

    One, but for the experts of a layer that are stacked in one tensor, as their name says; the
    trailing axes of a convolution are columns.

    >>> matrices("layers.0.mlp.experts.gate_up_proj", (8, 16, 32))
    (8, 16, 32)
    >>> matrices("conv.weight", (8, 16, 3))
    (1, 8, 48)
    """
    if len(shape) == 3 and "experts" in name.split("."):
        return shape[0], shape[1], shape[2]
    return 1, *matrix_shape(shape)
