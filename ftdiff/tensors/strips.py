"""A block of a stored matrix: some columns of some rows, and nothing of its source twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np

from ftdiff.tensors.arranged import Reshaped, Rows
from ftdiff.tensors.files import MappedFile, PreadFile
from ftdiff.tensors.lazy import DTYPES, Array, LazyTensor
from ftdiff.tensors.memory import ArrayTensor
from ftdiff.tensors.stored import FileTensor

#: Bytes of rows that are kept of a source where each question costs; larger ones are asked by runs.
_LARGEST = 128 << 20
#: Bytes of rows that are kept in all.
_ROOM = 2 * _LARGEST


@contextmanager
def strip(tensor: LazyTensor, width: int, rows: range, columns: range) -> Iterator[Array]:
    """Lend a block of a tensor that is walked as rows of `width` entries; rows × columns.

    Of memory it is a view. A file is asked for the runs of this block alone. Of a source that is
    further away the rows are fetched whole, in one run, and kept while other columns of them are
    asked for.
    """
    if not len(rows) or not len(columns):
        yield np.empty((len(rows), len(columns)), DTYPES[tensor.dtype])
    elif len(columns) == width:
        with tensor.window(rows.start * width, rows.stop * width) as run:
            yield run.reshape(len(rows), width)
    elif _is_memory(tensor):
        start, stop = rows.start * width + columns.start, (rows.stop - 1) * width + columns.stop
        with tensor.window(start, stop) as run:
            strides = (width * run.itemsize, run.itemsize)
            shape = (len(rows), len(columns))
            yield np.lib.stride_tricks.as_strided(run, shape, strides, writeable=False)
    elif not is_near(tensor) and len(rows) * width * DTYPES[tensor.dtype].itemsize <= _LARGEST:
        held = _kept(tensor, rows.start * width, rows.stop * width).array()
        yield held.reshape(len(rows), width)[:, columns.start : columns.stop]
    else:
        block = np.empty((len(rows), len(columns)), DTYPES[tensor.dtype])
        for i, row in enumerate(rows):
            with tensor.window(row * width + columns.start, row * width + columns.stop) as run:
                block[i] = run
        yield block


class _Kept:
    """Entries of a tensor, fetched when they are first asked for, by one thread."""

    def __init__(self, tensor: LazyTensor, start: int, stop: int) -> None:
        self._asked = tensor, start, stop
        self.size = (stop - start) * DTYPES[tensor.dtype].itemsize
        self._lock = Lock()
        self._array: Array | None = None

    def array(self) -> Array:
        tensor, start, stop = self._asked
        with self._lock:
            if self._array is None:
                with tensor.window(start, stop) as run:
                    self._array = run.copy()
            return self._array


_HELD: OrderedDict[tuple[LazyTensor, int, int], _Kept] = OrderedDict()
_GUARD = Lock()


def _kept(tensor: LazyTensor, start: int, stop: int) -> _Kept:
    """Return what is kept of these entries; what was asked for longest ago makes room."""
    key = tensor, start, stop
    with _GUARD:
        _HELD[key] = found = _HELD.pop(key, None) or _Kept(*key)
        while sum(one.size for one in _HELD.values()) > _ROOM and len(_HELD) > 1:
            _HELD.popitem(last=False)
    return found


def _is_memory(tensor: LazyTensor) -> bool:
    tensor = _stored(tensor)
    if isinstance(tensor, FileTensor):
        return isinstance(tensor.source, MappedFile)
    return isinstance(tensor, ArrayTensor)


def is_near(tensor: LazyTensor) -> bool:
    """Say whether a run of a tensor costs no more than its bytes, however short it is."""
    stored = _stored(tensor)
    pread = isinstance(stored, FileTensor) and isinstance(stored.source, PreadFile)
    return pread or _is_memory(stored)


def _stored(tensor: LazyTensor) -> LazyTensor:
    """Return what lends the entries of a view that lends them as they are stored."""
    while isinstance(tensor, Rows | Reshaped):
        tensor = tensor.tensor
    return tensor
