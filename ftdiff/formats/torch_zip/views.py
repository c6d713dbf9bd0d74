"""From a tensor's record to a lazy tensor at its place in the archive."""

from __future__ import annotations

from ftdiff.errors import BadFile
from ftdiff.formats.torch_zip.archive import Archive
from ftdiff.formats.torch_zip.records import TensorRecord
from ftdiff.tensors import DTYPES, FileTensor, LazyTensor, Source, Strided, numel

#: Entries that a view may have of a storage that has fewer, and how many times the storage's.
_REPEATED, _TIMES = 1 << 24, 16


def tensor(source: Source, opened: Archive, name: str, record: TensorRecord) -> LazyTensor:
    """Return the tensor that a record describes; nothing of it is read.

    Raises
    ------
    BadFile
        Its storage is not in the archive, or is smaller than the tensor.
    """
    place = opened.places.get(record.storage.key)
    if place is None:
        key = record.storage.key
        raise BadFile(f"{source.name}: {name}: its storage {key!r} is not in the archive")
    begin, room = place
    held = DTYPES.get(record.dtype)
    size = held.itemsize if held is not None else 1
    sides = zip(record.shape, record.strides, strict=True)
    last = sum((side - 1) * stride for side, stride in sides) if numel(record.shape) else -1
    if (record.offset + last + 1) * size > room:
        raise BadFile(f"{source.name}: {name}: reaches beyond its storage of {room:,} bytes")
    entries = numel(record.shape)
    if entries > max(_REPEATED, _TIMES * (room // size)):
        raise BadFile(f"{source.name}: {name}: {entries:,} entries made of {room:,} bytes")
    first = begin + record.offset * size
    if last < 0 or _contiguous(record.shape, record.strides):
        return FileTensor(source, first, record.shape, record.dtype)
    run = FileTensor(source, first, (last + 1,), record.dtype)
    return Strided(run, record.shape, record.strides)


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    expected = 1
    for side, stride in zip(reversed(shape), reversed(strides), strict=True):
        if side > 1 and stride != expected:
            return False
        expected *= side
    return True
