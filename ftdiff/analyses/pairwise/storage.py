"""Sums of many fine-tunes as plain values that JSON holds, exact to the bit, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.comparison.frame import IDENTITY
from ftdiff.naming import PLACE
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd

#: What is known of a tensor, and the types of those columns.
COLUMNS: Mapping[str, str] = {name: IDENTITY[name] for name in ("tensor", *PLACE, "shape", "numel")}


def checked_about(about: Any) -> dict[str, Any]:
    """Return what a result was made from, once what is read of it has the type it is saved in.

    Raises
    ------
    TypeError, KeyError
        A part has another type, or is missing.
    """
    if not isinstance(about, dict) or not isinstance(about["base"], str | None):
        raise TypeError("about")
    about.setdefault("saved", {})  # files of the first releases lack it
    for kind, said in (("apart", str), ("saved", str), ("unreadable", str), ("nonfinite", int)):
        for tensors in about[kind].values():
            if not tensors or not all(type(value) is said for value in tensors.values()):
                raise TypeError(kind)
    for notes in about.get("noted", {}).values():  # files of the first releases have none
        for note in notes:
            if type(note["code"]) is not str or type(note["text"]) is not str:
                raise TypeError("noted")
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
