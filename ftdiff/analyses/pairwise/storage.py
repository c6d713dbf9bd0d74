"""How what is measured of many fine-tunes is kept: JSON, exact to the bit, and CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ftdiff.comparison.storage import written
from ftdiff.errors import BadCall, BadFile
from ftdiff.tensors import Array, stamp

if TYPE_CHECKING:
    import pandas as pd

#: What is known of a tensor, and the types of those columns.
COLUMNS: Mapping[str, str] = {
    "tensor": "string", "stack": "string", "layer": "Int64", "block": "string", "role": "string",
    "component": "string", "module": "string", "param": "string", "expert": "Int64",
    "shape": "object", "numel": "Int64",
}  # fmt: skip


def checked_about(about: Any) -> dict[str, Any]:
    """Return what a result was made from, once what is read of it has the type it is saved in.

    Raises
    ------
    TypeError, KeyError
        A part has another type, or is missing.
    """
    if not isinstance(about, dict) or not isinstance(about["base"], str | None):
        raise TypeError("about")
    for kind, said in (("apart", str), ("unreadable", str), ("nonfinite", int)):
        for tensors in about[kind].values():
            if not tensors or not all(type(value) is said for value in tensors.values()):
                raise TypeError(kind)
    return about


def checked_sums(sums: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Hold sums against the shapes that they are saved in.

    Raises
    ------
    ValueError
        One has another shape or no place, or a squared norm is negative.
    """
    if any(name not in shapes or array.shape != shapes[name] for name, array in sums.items()):
        raise ValueError("sums of other shapes")
    if (np.einsum("tii->ti", sums["inner"]) < 0).any():
        raise ValueError("a squared norm below zero")


def tensors_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a typed row for each tensor."""
    import pandas as pd

    values = {name: [row.get(name) for row in rows] for name in COLUMNS}
    values["shape"] = [tuple(row["shape"]) for row in rows]
    if not all(type(size) is int and size >= 0 for size in values["numel"]):
        raise TypeError("numel")
    return pd.DataFrame(values, dtype="object").astype(dict(COLUMNS))


def packed(array: Array) -> dict[str, Any]:
    """Return an array as shape and values, null where not finite; of symmetric ones a half."""
    half = array.ndim == 3 and array.shape[1] == array.shape[2]
    values = array[:, *np.triu_indices(array.shape[1])] if half else array
    flat = [value if math.isfinite(value) else None for value in values.ravel().tolist()]
    return {"shape": [*array.shape], "symmetric": half, "values": flat}


def unpacked(stored: Mapping[str, Any]) -> Array:
    """Return what `packed` packed.

    Raises
    ------
    ValueError, KeyError, TypeError
        It is nothing of that kind.
    """
    shape = tuple(stored["shape"])
    if not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError("shape")
    flat = np.array([np.nan if v is None else float(v) for v in stored["values"]], np.float64)
    if stored["symmetric"] is not True:
        return flat.reshape(shape)
    count, n, _ = shape
    if shape[1] != shape[2] or count * n * (n + 1) // 2 != len(flat) or (n and not count):
        raise ValueError("shape")
    first, second = np.triu_indices(n)
    found = np.zeros((count, n, n))
    found[:, first, second] = found[:, second, first] = flat.reshape(count, len(first))
    return found


T = TypeVar("T")
_UNFIT = (
    *(ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError),
    *(IndexError, MemoryError),
)


def save(
    path: Path, what: str, document: Callable[[], Any], frame: Callable[[], pd.DataFrame]
) -> Path:
    """Write .json (the document) or .csv (the frame); the file appears only when it is whole.

    Raises
    ------
    BadCall
        The ending is neither.
    """
    ending = path.suffix.lower()
    if ending == ".csv":
        with written(path) as temporary:
            frame().to_csv(temporary, index=False)
    elif ending == ".json":
        text = json.dumps(document(), ensure_ascii=False, allow_nan=False)
        with written(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    else:
        raise BadCall(f"{path}: a {what} is saved as .json or .csv")
    return path


def load(path: Path, what: str, format_: str, parts: Callable[[Any], T]) -> T:
    """Return the parts of a document that `save` wrote in this format.

    Raises
    ------
    BadFile
        The file is none, or its parts do not fit each other.
    """
    try:
        stamp(path)
        stored = json.loads(path.read_bytes())
        if stored["format"] != format_:
            told = str(stored["format"])[:40]
            raise BadFile(f"{path}: written in format {told!r}, this is {format_!r}")
        return parts(stored)
    except _UNFIT as error:
        raise BadFile(f"{path}: not a {what} saved by ftdiff ({type(error).__name__})") from error
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
