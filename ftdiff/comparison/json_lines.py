"""Rows of columns as JSON, an object for each row, made a column at a time."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from ftdiff.comparison.frame import Columns
from ftdiff.comparison.storage import Lines
from ftdiff.tensors import Array

_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def lines(columns: Columns) -> Lines:
    """Return every row as the encoder writes it; a value that is missing has no key.

    JSON has no infinity: it is a word.

    >>> lines({"x": np.array([1.5, np.nan]), "shape": np.array([(2, 3), None], object)})
    ['{"x": 1.5, "shape": [2, 3]}', '{}']
    """
    fields = [_fields(f"{_ENCODE(name)}: ", values) for name, values in columns.items()]
    return Lines("{" + ", ".join(filter(None, row)) + "}" for row in zip(*fields, strict=True))


def _fields(key: str, values: Array) -> list[str]:
    """Return a column's keys and values; nothing where one is missing."""
    if values.dtype == np.float64:
        numbers: list[float] = values.tolist()
        if np.isfinite(values).all():
            return [key + text for text in map(repr, numbers)]
        return [
            key + repr(x) if math.isfinite(x) else "" if x != x else f"{key}{_ENCODE(str(x))}"
            for x in numbers
        ]
    held = values.tolist()
    if {*map(type, held)} <= {str, int, tuple, type(None)}:  # few of them differ, in most columns
        texts = {value: _field(key, value) for value in {*held}}
        return [texts[value] for value in held]
    return [_field(key, value) for value in held]


def _field(key: str, value: Any) -> str:
    return "" if value is None else key + _ENCODE(value)
