"""A tensor is a name, a shape and a dtype now, and bytes when asked.

A file's tensors are windows on one memory map, and the pages of a window are given back when it
closes, so that memory does not grow with the model.
"""

from __future__ import annotations

import math
import mmap
import os
import stat
from collections.abc import Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import ml_dtypes
import numpy as np

from ftdiff.errors import BadFile

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
_CODES = {dtype: code for code, dtype in DTYPES.items()}


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
        return _CODES.get(self.array.dtype, str(self.array.dtype))

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


@dataclass(frozen=True)
class FileTensor:
    """A tensor at an offset of a file, whose header was checked against the file's size."""

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: str
    stamp: tuple[int, int, int, int]  # device, inode, size, mtime of the file when it was opened

    @property
    def storage(self) -> Hashable:
        """The file itself (links resolved) and the offset in it."""
        return (*self.stamp, self.offset)

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows.

        Raises
        ------
        BadFile
            The file has changed since it was opened, or its dtype has no NumPy counterpart.
        """
        if not self.shape:
            with self.window(0, 1) as flat:
                return flat.reshape(()).copy()
        start, stop, step = rows.indices(self.shape[0])
        width = numel(self.shape[1:])
        with self.window(start * width, max(start, stop) * width) as flat:
            return flat.reshape(max(stop - start, 0), *self.shape[1:])[::step].copy()

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend a view of the memory map, and give its pages back when the block ends."""
        dtype = DTYPES.get(self.dtype)
        if dtype is None:
            raise BadFile(f"{self.path}: dtype {self.dtype} cannot be read")
        if stop <= start:
            yield np.empty(0, dtype)
            return
        first = self.offset + start * dtype.itemsize
        pages = _map(self.path, self.stamp)
        if pages.size() < len(pages):  # reading beyond the end of a file ends the process
            raise BadFile(f"{self.path}: cut short since it was opened; compare again")
        yield np.frombuffer(pages, dtype, stop - start, first)
        _give_back(pages, first, self.offset + stop * dtype.itemsize)


@dataclass(frozen=True)
class FirstRows:
    """The first rows of another tensor: what two vocabularies of different sizes share."""

    tensor: LazyTensor
    rows: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape, with fewer rows."""
        return self.rows, *self.tensor.shape[1:]

    @property
    def dtype(self) -> str:
        """The tensor's dtype."""
        return self.tensor.dtype

    @property
    def behind(self) -> LazyTensor:
        """The tensor that is stored."""
        return self.tensor

    @property
    def storage(self) -> Hashable:
        """The tensor's: its rows come first."""
        return self.tensor.storage

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows."""
        return self.tensor.read(slice(*rows.indices(self.rows)))

    def window(self, start: int, stop: int) -> AbstractContextManager[Array]:
        """Lend elements of the tensor, which begin where the tensor begins."""
        return self.tensor.window(start, stop)


def stored_as(tensor: LazyTensor) -> str:
    """Return how the file stores a tensor: its dtype, or the scheme by which it is quantised.

    >>> stored_as(ArrayTensor(np.zeros(3, np.float16)))
    'F16'
    """
    whole = _behind(tensor)
    return str(getattr(whole, "scheme", whole.dtype))


def is_quantised(tensor: LazyTensor) -> bool:
    """Say whether values are lent in another dtype than the file's: dequantised."""
    return hasattr(_behind(tensor), "scheme")


def _behind(tensor: LazyTensor) -> LazyTensor:
    """Return the stored tensor that a view shows."""
    while (held := getattr(tensor, "behind", None)) is not None:
        tensor = held
    return tensor


def stamp(path: str | os.PathLike[str]) -> tuple[int, int, int, int]:
    """Return what identifies a file's bytes without reading them, links resolved.

    Raises
    ------
    BadFile
        It is a pipe or a device: opening one may wait, and reading one may not end.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise BadFile(f"{path}: not a file that can be read twice, but a pipe or a device")
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=256)
def _map(path: str, expected: tuple[int, int, int, int]) -> mmap.mmap:
    try:
        with open(path, "rb") as file:
            found = stamp(path)
            if found != expected:
                raise BadFile(f"{path}: changed since it was opened; compare again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error


def _give_back(pages: mmap.mmap, start: int, stop: int) -> None:
    if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        first = start - start % mmap.PAGESIZE
        pages.madvise(mmap.MADV_DONTNEED, first, stop - first)
