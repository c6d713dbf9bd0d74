"""A similarity's files: JSON, whole and exact to the bit, and CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.errors import BadCall, BadFile
from ftdiff.frames import records, written
from ftdiff.tensors import Array, stamp

if TYPE_CHECKING:
    import pandas as pd

    from ftdiff.likeness.result import Similarity

FORMAT = "ftdiff.similarity/1"

#: What is known of a tensor, and the types of those columns.
COLUMNS: Mapping[str, str] = {
    "tensor": "string", "stack": "string", "layer": "Int64", "block": "string", "role": "string",
    "component": "string", "module": "string", "param": "string", "expert": "Int64",
    "shape": "object", "numel": "Int64",
}  # fmt: skip
_UNFIT = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def save(found: Similarity, path: Path) -> Path:
    """Write .json or .csv; the file appears only when it is whole."""
    ending = path.suffix.lower()
    if ending == ".csv":
        with written(path) as temporary:
            found.frame.to_csv(temporary, index=False)
    elif ending == ".json":
        text = json.dumps(document(found), ensure_ascii=False, allow_nan=False)
        with written(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    else:
        raise BadCall(f"{path}: a similarity is saved as .json or .csv")
    return path


def document(found: Similarity) -> dict[str, Any]:
    """Return everything as values that JSON holds; what is missing is null."""
    return {
        "format": FORMAT,
        "names": [*found.names],
        "about": found.about,
        "tensors": records(found.tensors),
        "sums": {name: packed(array) for name, array in found.sums.items()},
    }


def packed(array: Array) -> dict[str, Any]:
    """Return an array as its shape and values, NaN as null; of symmetric ones a half."""
    half = array.ndim == 3 and array.shape[1] == array.shape[2]
    values = array[:, *np.triu_indices(array.shape[1])] if half else array
    flat = [None if value != value else value for value in values.ravel().tolist()]
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
    if n > len(flat) + 1:
        raise ValueError("shape")
    first, second = np.triu_indices(n)
    found = np.zeros((count, n, n))
    found[:, first, second] = found[:, second, first] = flat.reshape(count, len(first))
    return found


def load(path: Path) -> tuple[tuple[str, ...], pd.DataFrame, dict[str, Array], dict[str, Any]]:
    """Read what `save` wrote as JSON: names, tensors, sums, about.

    Raises
    ------
    BadFile
        The file is not a saved similarity.
    """
    try:
        stamp(path)
        stored = json.loads(path.read_bytes())
        if stored["format"] != FORMAT:
            told = str(stored["format"])[:40]
            raise BadFile(f"{path}: written in format {told!r}, this is {FORMAT!r}")
        names = tuple(map(str, stored["names"]))
        tensors, about = tensors_of(stored["tensors"]), stored["about"]
        sums = {str(name): unpacked(array) for name, array in stored["sums"].items()}
        unfit = [name for name, array in sums.items() if len(array) != len(tensors)]
        if unfit or sums["inner"].shape[1:] != (len(names), len(names)):
            raise ValueError("sums")
        if not isinstance(about, dict):
            raise TypeError("about")
        return names, tensors, sums, about
    except _UNFIT as error:
        raise BadFile(
            f"{path}: not a similarity saved by ftdiff ({type(error).__name__})"
        ) from error
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error


def tensors_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a typed row for each tensor."""
    import pandas as pd

    values = {name: [row.get(name) for row in rows] for name in COLUMNS}
    values["shape"] = [tuple(row["shape"]) for row in rows]
    return pd.DataFrame(values, dtype="object").astype(dict(COLUMNS))
