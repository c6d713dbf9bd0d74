"""A table of tensors as columns of arrays, their names and types, and the frame made of them.

Columns are what is measured and regrouped: `float64` where a column holds real numbers, NaN where
one is missing; else objects, None where one is missing. A frame of pandas is made for whoever asks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ftdiff.comparison.column_words import described
from ftdiff.deltas.moments import COLUMNS, COUNTS
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd

#: Arrays of one length by name.
Columns: TypeAlias = Mapping[str, Array]

#: What is known of a tensor before its sums, and the types of those columns.
IDENTITY: Mapping[str, str] = {
    "tensor": "string",
    "stack": "string",
    "layer": "Int64",
    "sublayer": "string",
    "block": "string",
    "role": "string",
    "component": "string",
    "module": "string",
    "param": "string",
    "expert": "Int64",
    "status": "string",
    "form": "string",
    "shape": "object",
    "numel": "Int64",
    "base_dtype": "string",
    "tuned_dtype": "string",
    "note": "string",
    "reason": "string",
}
#: What tells parts of a tensor apart, in frames that have a row for each part.
PARTS: Mapping[str, str] = {
    "row": "Int64",
    "column": "Int64",
    "head": "Int64",
    "kv_head": "Int64",
    "token": "string",
}
_COLUMNS = {**IDENTITY, **{c: "Int64" if c in COUNTS else "Float64" for c in COLUMNS}}
#: What is counted of a group.
COUNTED = ("tensors", "moved", "params", "counted", "numel")
_TYPES = {**_COLUMNS, **PARTS, **dict.fromkeys(COUNTED, "Int64"), "of": "string"}
#: Counts of entries that are not finite: a tensor that has one has no sums.
BROKEN = ("nonfinite_base", "nonfinite_tuned")


def type_of(name: str) -> str:
    """Return a column's type as pandas calls it; what has no name of ours is a number."""
    return _TYPES.get(name, "Float64")


def of_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> dict[str, Array]:
    """Make columns from a record for each row; what a row lacks is missing.

    Further columns stand in the order of `columns`, then in that of the rows.

    Raises
    ------
    TypeError, ValueError, OverflowError
        A value does not fit its column.
    """
    names = dict.fromkeys([*_COLUMNS, *columns])
    for row in rows:
        if not row.keys() <= names.keys():
            names |= dict.fromkeys(row)
    return typed({name: [row.get(name) for row in rows] for name in names})


def typed(columns: Mapping[str, Sequence[Any] | Array]) -> dict[str, Array]:
    """Return each column as the array that its type asks for.

    Raises
    ------
    TypeError, ValueError, OverflowError
        A value does not fit its column.
    """
    return {name: _typed(values, type_of(name)) for name, values in columns.items()}


def broken(columns: Columns) -> Array:
    """Say which rows have entries that are not finite."""
    counts = [floats(columns[name]) for name in BROKEN if name in columns]
    masks = [count > 0 for count in counts]
    return np.logical_or.reduce(masks) if masks else np.zeros(length(columns), bool)


def measured(columns: Columns) -> Columns:
    """Return the same without sums of what has entries that are not finite: its counts stay.

    A sum over the rest is none of the tensor: of one that is all NaN it would be 0.
    """
    lost = broken(columns)
    if not lost.any():
        return columns
    blank: dict[str, Array] = {}
    for name in COLUMNS:
        if name not in COUNTS:
            blank[name] = np.where(lost, np.nan, floats(columns[name]))
        elif name == "sign_flips":
            blank[name] = _objects([None if lost[i] else v for i, v in enumerate(columns[name])])
    return {**columns, **blank}


def _typed(values: Sequence[Any] | Array, kind: str) -> Array:
    if kind == "Float64":
        if isinstance(values, np.ndarray) and values.dtype == np.float64:
            return values
        try:
            return np.array(values, np.float64)  # None is NaN
        except TypeError:  # pandas' own missing values
            return np.array([_real(value) for value in values], np.float64)
    given = values.tolist() if isinstance(values, np.ndarray) else values
    if kind == "Int64" and not _are_whole(given):
        given = [None if value is None else _whole(value) for value in given]
    elif kind == "string" and not {*map(type, given)} <= {str, type(None)}:
        given = [value if type(value) is str else _word(value) for value in given]
    return _objects(given)


def _are_whole(values: Sequence[Any]) -> bool:
    """Say whether all values are whole numbers of 64 bits as they are, or missing."""
    kinds = {*map(type, values)}
    if not kinds <= {int, type(None)}:
        return False
    numbers = values if kinds == {int} else [value for value in values if value is not None]
    return not numbers or (min(numbers) >= -(1 << 63) and max(numbers) < 1 << 63)


def _objects(values: Sequence[Any]) -> Array:
    # tuples are values, not rows of a matrix
    return np.fromiter(values, object, len(values))


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or _is_na(value)


def _word(value: Any) -> str | None:
    return None if _missing(value) else str(value)


def _is_na(value: Any) -> bool:
    return type(value).__name__ == "NAType"  # pandas' own, which equals nothing


def _real(value: Any) -> float:
    return math.nan if value is None or _is_na(value) else float(value)


def _whole(value: Any) -> int | None:
    """Return a whole number of 64 bits."""
    if _missing(value):
        return None
    number = value if type(value) is int else int(value)
    if isinstance(value, str) or number != value:
        raise TypeError(f"{value!r} is no whole number")
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError(f"{number} takes more than 64 bits")
    return number


def of_frame(frame: pd.DataFrame) -> dict[str, Array]:
    """Return the columns of a frame."""
    return typed({str(name): _values(frame[name]) for name in frame})


def _values(column: pd.Series[Any]) -> Array:
    if type_of(str(column.name)) == "Float64":
        return column.to_numpy(np.float64, na_value=math.nan)
    values = column.astype("object")
    return values.where(values.notna(), None).to_numpy(object)


def frame_of(columns: Columns) -> pd.DataFrame:
    """Make a typed frame of columns; its `attrs["columns"]` says what each of them means."""
    import pandas as pd

    kinds = {name: type_of(name) for name in columns}
    frame = pd.DataFrame({**columns})
    frame = frame.astype({name: kind for name, kind in kinds.items() if kind != "object"})
    frame.attrs |= described(columns)
    return frame


def length(columns: Columns) -> int:
    """Return the number of rows."""
    return len(next(iter(columns.values()))) if columns else 0


def rows_at(columns: Columns, rows: Array) -> dict[str, Array]:
    """Return some rows, by a mask or by their numbers."""
    return {name: values[rows] for name, values in columns.items()}


def floats(values: Array) -> Array:
    """Return a column of numbers as float64, NaN where one is missing."""
    return _typed(values, "Float64")


def among(values: Array, wanted: Collection[Any]) -> Array:
    """Say of each value of a column whether it is one of these."""
    return np.fromiter(map({*wanted}.__contains__, values.tolist()), bool, len(values))


def there(values: Array) -> Array:
    """Say of each value of a column whether it is not missing."""
    if values.dtype == np.float64:
        return ~np.isnan(values)
    is_there: Array = np.not_equal(values, np.array(None))
    return is_there.astype(bool)


def plain(columns: Columns) -> list[dict[str, Any]]:
    """Return columns as a record for each row, of plain values; what is missing is None."""
    lists = [
        [None if value != value else value for value in values.tolist()]
        if values.dtype == np.float64
        else values.tolist()
        for values in columns.values()
    ]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows as dicts of plain values; what is missing is None."""
    names = [str(name) for name in frame]
    lists = [
        [
            None if gone else value
            for value, gone in zip(column.tolist(), column.isna(), strict=True)
        ]
        for _, column in frame.items()
    ]
    return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]
