"""Read a published matrix of layers × components, in CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ftdiff.errors import BadFile, one_line
from ftdiff.tensors import stamp

# What a first column of layers is called, and how a missing cell is written.
_LAYER = ("", "layer", "layers", "index")
_BLANK = ("", "na", "n/a", "nan", "null", "none", "-")


def read_matrix(path: str | Path, *, repeated: bool = False) -> pd.DataFrame:
    """Read a matrix of numbers, as `heatmap` draws it.

    Parameters
    ----------
    path
        CSV (or .tsv): a header, then a line per layer; a first column headed "layer" or nothing
        names the layers, else they are counted from 0. JSON: a list of records, an object of
        columns (each a list, or an object by layer), or an object of "columns", "index" and
        "data". Blank, NA and null cells are missing.
    repeated
        Whether a column may be there more than once, as a token may in a text.

    Returns
    -------
    DataFrame
        float64, missing as NaN; rows by layer in the order of the file, columns as spelled.

    Raises
    ------
    BadFile
        The file cannot be read as that; the message names the line or cell.
    """
    path = Path(path)
    try:
        stamp(path)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{path}: not text in UTF-8; a matrix is CSV or JSON") from error
    try:
        if text.lstrip()[:1] in ("{", "["):
            return _frame(*_of_json(json.loads(text)), repeated=repeated)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        return _frame(*_of_csv(text, delimiter), repeated=repeated)
    except _Unfit as error:
        raise BadFile(f"{path}: {one_line(error, 400)}") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise BadFile(f"{path}: not a matrix in CSV or JSON ({error})") from error


class _Unfit(Exception):
    """Why a document is no matrix, before the file is named."""


_Parts = tuple[Sequence[Any], Sequence[Any], Sequence[Sequence[Any]]]


def _of_csv(text: str, delimiter: str) -> _Parts:
    lines = [line for line in csv.reader(io.StringIO(text), delimiter=delimiter) if line]
    if len(lines) < 2:
        raise _Unfit("a matrix has a header and a line for each layer")
    header, *rows = lines
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise _Unfit(f"line {number} has {len(row)} cells, the header {len(header)}")
    if header[0].strip().lower() in _LAYER:
        return header[1:], [row[0] for row in rows], [row[1:] for row in rows]
    return header, range(len(rows)), rows


def _of_json(document: Any) -> _Parts:
    if isinstance(document, list) and document and all(isinstance(r, dict) for r in document):
        return _of_records(document)
    if isinstance(document, dict) and isinstance(document.get("data"), list):
        rows = document["data"]
        columns, index = document.get("columns"), document.get("index", range(len(rows)))
        if isinstance(columns, list) and isinstance(index, (list, range)):
            return columns, index, [_row(row, len(columns)) for row in rows]
    elif isinstance(document, dict) and "tensors" in document:
        raise _Unfit("a saved diff, not a matrix; open it with ftdiff.load")
    elif isinstance(document, dict) and document:
        return _of_columns(document)
    raise _Unfit("JSON of a matrix is a list of records, or an object of columns")


def _of_records(records: Sequence[Mapping[str, Any]]) -> _Parts:
    names = dict.fromkeys(name for record in records for name in record)
    rows = [[record.get(name) for name in names] for record in records]
    if names and next(iter(names)).strip().lower() in _LAYER:
        return [*names][1:], [row[0] for row in rows], [row[1:] for row in rows]
    return [*names], range(len(rows)), rows


def _of_columns(columns: Mapping[str, Any]) -> _Parts:
    if all(isinstance(column, dict) for column in columns.values()):
        index = dict.fromkeys(layer for column in columns.values() for layer in column)
        rows = [[column.get(layer) for column in columns.values()] for layer in index]
        return [*columns], [*index], rows
    if not all(isinstance(column, list) for column in columns.values()):
        raise _Unfit("each column of a matrix is a list of numbers, or an object by layer")
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise _Unfit(f"the columns are of different lengths: {sorted(lengths)}")
    return _of_records(
        [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    )


def _row(row: Any, width: int) -> list[Any]:
    if not isinstance(row, list) or len(row) != width:
        raise _Unfit(f"each row of data is a list of {width} numbers, as there are columns")
    return row


def _frame(
    columns: Sequence[Any],
    index: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    *,
    repeated: bool,
) -> pd.DataFrame:
    """Make the frame, once every name and cell is what it should be."""
    names = [str(name).strip() for name in columns]
    layers = _layers(index)
    if not names or not rows or len(layers) != len(rows):
        raise _Unfit(f"no matrix: {len(rows)} rows, {len(layers)} layers, {len(names)} columns")
    for what, given in (("column", names), ("layer", layers)):
        if (twice := _repeated(given)) and not (repeated and what == "column"):
            raise _Unfit(f"{what} {twice[0]!r} is there more than once")
    cells = [
        [_number(cell, layer, name) for cell, name in zip(row, names, strict=True)]
        for row, layer in zip(rows, layers, strict=True)
    ]
    return pd.DataFrame(cells, pd.Index(layers, name="layer"), pd.Index(names), dtype=float)


def _repeated(given: Iterable[Any]) -> list[Any]:
    seen: set[Any] = set()
    return [one for one in given if one in seen or seen.add(one)]  # type: ignore[func-returns-value]


def _layers(index: Sequence[Any]) -> list[int] | list[str]:
    """Layers as integers where all are, else as texts."""
    texts = [str(layer).strip() for layer in index]
    if all(text.isascii() and text.isdigit() and len(text) < 10 for text in texts):
        return [int(text) for text in texts]
    return texts


def _number(cell: Any, layer: object, column: str) -> float:
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in _BLANK):
        return math.nan
    try:
        if isinstance(cell, (int, float, str)) and not isinstance(cell, bool):
            return float(cell)
    except (ValueError, OverflowError):
        pass
    raise _Unfit(f"layer {layer}, column {column!r}: {str(cell)[:40]!r} is not a number")
