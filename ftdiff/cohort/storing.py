"""How sums over tensors are written as JSON: exact to the bit, of symmetric arrays a half."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd

#: What is known of a tensor, and the types of those columns.
COLUMNS: Mapping[str, str] = {
    "tensor": "string", "stack": "string", "layer": "Int64", "block": "string", "role": "string",
    "component": "string", "module": "string", "param": "string", "expert": "Int64",
    "shape": "object", "numel": "Int64",
}  # fmt: skip


def tensors_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a typed row for each tensor."""
    import pandas as pd

    values = {name: [row.get(name) for row in rows] for name in COLUMNS}
    values["shape"] = [tuple(row["shape"]) for row in rows]
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
    if n > len(flat) + 1:
        raise ValueError("shape")
    first, second = np.triu_indices(n)
    found = np.zeros((count, n, n))
    found[:, first, second] = found[:, second, first] = flat.reshape(count, len(first))
    return found
