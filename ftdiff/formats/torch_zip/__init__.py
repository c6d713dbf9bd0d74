"""`torch.save`'s zip files (.bin, .pt, .pth, .ckpt): read lazily, without torch, nothing run.

The pickle in such a file says which tensors are views of which members, and is read by an
interpreter that knows tensors only (`records`); the members' bytes lie in the file as they are.
"""

from __future__ import annotations

from pathlib import Path

from ftdiff.errors import BadFile
from ftdiff.formats.container import Format, Header
from ftdiff.formats.torch_zip import archive, records, state
from ftdiff.tensors import DTYPES, FileTensor, LazyTensor, MappedFile, Strided, numel

#: What trainers leave beside the weights, which are no weights.
_OTHERS = ("optimizer", "scheduler", "training_args", "rng_state", "scaler", "random_states")


def read_header(path: Path) -> Header:
    """Read which tensors a file holds; no tensor is read, and nothing in the file is run.

    Raises
    ------
    BadFile
        It is a legacy pickle, damaged, compressed, or holds anything but tensors.
    """
    try:
        if not archive.is_zip(path):
            raise BadFile(
                f"{path}: a pickle as torch wrote it before 1.6, or none of torch's; load it where "
                "it is trusted and save it as safetensors (safetensors.torch.save_file)"
            )
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    opened = archive.read(path)
    try:
        held = records.read(opened.pickle)
    except records.Refused as reason:
        raise BadFile(f"{path}: not read, since {reason}") from reason
    found, notes = state.find(held, str(path))
    tensors = {name: _tensor(path, opened, name, record) for name, record in found.items()}
    record = {"name": path.name, "bytes": opened.marks[2], "header_sha256": opened.digest}
    return Header(tensors, record, {}, notes)


def _tensor(
    path: Path, opened: archive.Archive, name: str, record: records.TensorRecord
) -> LazyTensor:
    place = opened.places.get(record.storage.key)
    if place is None:
        raise BadFile(f"{path}: {name}: its storage {record.storage.key!r} is not in the archive")
    begin, room = place
    held = DTYPES.get(record.dtype)
    size = held.itemsize if held is not None else 1
    sides = zip(record.shape, record.strides, strict=True)
    last = sum((side - 1) * stride for side, stride in sides) if numel(record.shape) else -1
    if (record.offset + last + 1) * size > room:
        raise BadFile(f"{path}: {name}: reaches beyond its storage of {room:,} bytes")
    first = begin + record.offset * size
    source = MappedFile(str(path), opened.marks)
    if _contiguous(record.shape, record.strides):
        return FileTensor(source, first, record.shape, record.dtype)
    whole = FileTensor(source, first, (last + 1,), record.dtype)
    return Strided(whole, record.shape, record.strides)


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    expected = 1
    for side, stride in zip(reversed(shape), reversed(strides), strict=True):
        if side > 1 and stride != expected:
            return False
        expected *= max(side, 1)
    return True


def _is_weights(stem: str) -> bool:
    return not stem.startswith(_OTHERS)


FORMAT = Format(
    "torch",
    ".bin",
    read_header,
    models=("pytorch_model", "diffusion_pytorch_model", "model", "consolidated.00"),
    others=(".pt", ".pth", ".ckpt", ".pth.tar"),
    weights=_is_weights,
)
