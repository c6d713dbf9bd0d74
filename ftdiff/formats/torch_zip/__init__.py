"""`torch.save`'s zip files (.bin, .pt, .pth, .ckpt): read lazily, without torch, nothing run.

The pickle in such a file says which tensors are views of which members, and is read by an
interpreter that knows tensors only (`records`); the members' bytes lie in the file as they are.
"""

from __future__ import annotations

from ftdiff.errors import BadFile
from ftdiff.formats.container import Format, Header
from ftdiff.formats.pickles import Refused
from ftdiff.formats.place import Place
from ftdiff.formats.pointers import refuse_pointer
from ftdiff.formats.torch_zip import archive, records, state, views

#: What trainers leave beside the weights, which are no weights.
_OTHERS = (
    *("optimizer", "scheduler", "training_args", "rng_state", "scaler", "random_states"),
    *("zero_pp_rank_", "bf16_zero_pp_rank_", "mp_rank_"),
)


def read_header(path: Place) -> Header:
    """Read which tensors a file holds; no tensor is read, and nothing in the file is run.

    Raises
    ------
    BadFile
        It is a legacy pickle, damaged, compressed, or holds anything but tensors.
    """
    source = path.source()
    refuse_pointer(path)
    if not archive.is_zip(source):
        raise BadFile(
            f"{path}: a pickle as torch wrote it before 1.6, or none of torch's; load it where it "
            "is trusted and save it as safetensors (safetensors.torch.save_file)"
        )
    opened = archive.read(source)
    try:
        held = records.read(opened.pickle)
    except Refused as reason:
        raise BadFile(f"{path}: not read, since {reason}") from reason
    found, notes = state.find(held, str(path))
    tensors = {name: views.tensor(source, opened, name, record) for name, record in found.items()}
    record = {"name": path.name, "bytes": source.size, "header_sha256": opened.digest}
    return Header(tensors, record, {}, notes)


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
