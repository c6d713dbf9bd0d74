"""A block of a stored matrix: some columns of some rows, and nothing else of its source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ftdiff.tensors.lazy import DTYPES, Array, LazyTensor
from ftdiff.tensors.memory import ArrayTensor
from ftdiff.tensors.source import MappedFile
from ftdiff.tensors.stored import FileTensor


@contextmanager
def strip(tensor: LazyTensor, width: int, rows: range, columns: range) -> Iterator[Array]:
    """Lend a block of a tensor that is walked as rows of `width` entries; rows × columns.

    A source that copies is asked for the runs of this block alone; of memory it is a view.
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
    else:
        block = np.empty((len(rows), len(columns)), DTYPES[tensor.dtype])
        for i, row in enumerate(rows):
            with tensor.window(row * width + columns.start, row * width + columns.stop) as run:
                block[i] = run
        yield block


def _is_memory(tensor: LazyTensor) -> bool:
    if isinstance(tensor, FileTensor):
        return isinstance(tensor.source, MappedFile)
    return isinstance(tensor, ArrayTensor)
