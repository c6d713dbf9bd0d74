"""What other tools write and no reader here opens: named, with the way out."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from ftdiff.errors import BadFile
from ftdiff.formats.place import Place
from ftdiff.formats.pointers import refuse_pointer
from ftdiff.formats.written import HEAD, written

_PICKLES = ("*.pkl", "*.pickle", "*.joblib")
#: What of a folder's names shows who wrote it, what that is, and the way out. Asked in this order.
_WRITTEN: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("pytorch_model_fsdp_*/", "sharded_state_dict*/"),
        "an FSDP checkpoint of accelerate, in shards of every rank",
        "`accelerate merge-weights {0} OUT` writes safetensors",
    ),
    (
        ("global_step*/", "zero_pp_rank_*", "*_optim_states.pt", "bf16_zero_pp_rank_*"),
        "a DeepSpeed checkpoint, in shards of every rank",
        "`python zero_to_fp32.py FOLDER OUT --safe_serialization`, with the zero_to_fp32.py that "
        "DeepSpeed puts beside it",
    ),
    (
        ("mp_rank_*", "latest_checkpointed_iteration.txt", "iter_*/"),
        "a Megatron checkpoint, in shards of every rank",
        "export it with Megatron-Bridge (AutoBridge.export_ckpt) to a Hugging Face folder",
    ),
    (
        ("*.nemo", "model_weights/"),
        "a NeMo checkpoint",
        "export it with NeMo (nemo.export or Megatron-Bridge) to a Hugging Face folder",
    ),
    (
        ("tf_model*.h5", "*.h5", "saved_model.pb", "*.ckpt.index", "*.keras"),
        "TensorFlow weights",
        "from_pretrained(..., from_tf=True) of transformers 4, and save_pretrained again",
    ),
    (
        ("flax_model*.msgpack", "*.msgpack"),
        "Flax weights",
        "from_pretrained(..., from_flax=True) of transformers 4, and save_pretrained again",
    ),
    (("*.onnx",), "an ONNX export", "compare the checkpoint that it was exported from"),
    (
        _PICKLES,
        "a pickle, which can run code when it is read",
        "save it as safetensors (save_pretrained(..., safe_serialization=True))",
    ),
)


def why_unread(path: Place, suffixes: Iterable[str]) -> str:
    """Say what lies at a path that no format recognises, and what to do.

    Parameters
    ----------
    path
        A file or folder that is there.
    suffixes
        How the files end that are read.

    Raises
    ------
    BadFile
        It is a Git LFS pointer, or a folder of some.
    """
    folder = path.is_dir()
    entries = path.files() if folder else [path]
    names = sorted([entry.name for entry in entries] + _folders(path, folder))
    for entry in entries:
        if any(fnmatchcase(entry.name, glob) for globs, _, _ in _WRITTEN for glob in globs):
            refuse_pointer(entry)
    if not folder:
        refuse_pointer(path)
    for entry in entries:
        ours = written(str(entry), _head(entry)) if _may_be_ours(entry, folder) else None
        if ours is not None:
            return f"{entry}: {ours.what}, and no weights; {ours.way}"
    for globs, what, way in _WRITTEN:
        found = [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]
        if found:
            shown = found[0].rstrip("/")
            out = way.replace("FOLDER", str(path)).replace("{0}", str(path / shown))
            return f"{path}: {shown} is {what}; {out}"
    suffixes = list(suffixes)
    if not folder:
        return f"{path}: not a {' or '.join(suffixes)} file or a folder with one"
    return f"{path}: no weights here ({_looked(path, names, suffixes)})"


def _may_be_ours(file: Place, folder: bool) -> bool:
    """Say whether a file may be one that ftdiff wrote; of a folder, only saved results count."""
    return file.is_file() and (not folder or file.name.endswith(".json"))


def _head(file: Place) -> bytes:
    try:
        source = file.source()
        with source.lend(0, min(HEAD, source.size)) as lent:
            return bytes(lent)
    except BadFile:
        return b""


def _folders(path: Place, folder: bool) -> list[str]:
    return [f"{one.name}/" for one in path.folders()] if folder else []


def _looked(path: Place, names: list[str], suffixes: list[str]) -> str:
    inside = [
        name.rstrip("/")
        for name in names
        if name.endswith("/") and (path / name.rstrip("/")).files(*suffixes)
    ]
    if not inside and "snapshots/" in names:
        inside = [f"snapshots/{entry.name}" for entry in (path / "snapshots").folders()]
    if inside:
        return f"they are in {', '.join(inside[:5])}{', …' if len(inside) > 5 else ''}: name one"
    looked = ", ".join(f"*{suffix}" for suffix in suffixes)
    shown = ", ".join(name.rstrip("/") for name in names[:5]) + (", …" if len(names) > 5 else "")
    return f"looked for {looked}; found {shown or 'nothing'}"
