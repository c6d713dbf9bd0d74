"""The frame's columns and types, its exact grouping, and its files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ftdiff.deltas.moments import COLUMNS, COUNTS, MAXIMA, TURNED, exact
from ftdiff.deltas.rescaling import turned_sq
from ftdiff.errors import BadCall, BadFile, one_line, require
from ftdiff.metrics.linalg import spectrum_curve as curve
from ftdiff.tensors import Array, stamp

FORMAT = "ftdiff.diff/1"

#: What is known of a tensor before its sums, and the types of those columns.
IDENTITY: Mapping[str, str] = {
    "tensor": "string",
    "stack": "string",
    "layer": "Int64",
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
_TYPES = {**_COLUMNS, **PARTS}
#: Counts of entries that are not finite: a tensor that has one has no sums.
BROKEN = ("nonfinite_base", "nonfinite_tuned")


def frame_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> pd.DataFrame:
    """Make a typed frame, a row per tensor; what a row lacks is missing.

    Further columns stand in the order of `columns`, then in that of the rows.
    """
    names = dict.fromkeys([*_COLUMNS, *columns, *(name for row in rows for name in row)])
    values = {name: [row.get(name) for row in rows] for name in names}
    return typed(pd.DataFrame(values, dtype="object"))


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the same with a type for every column; what has no name of ours is a number."""
    return frame.astype({name: _TYPES.get(str(name), "Float64") for name in frame})


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the same without sums of what has entries that are not finite: its counts stay.

    A sum over the rest is none of the tensor: of one that is all NaN it would be 0.
    """
    broken = _broken(frame)
    if not broken.any():
        return frame
    sums = [name for name in COLUMNS if name not in COUNTS or name == "sign_flips"]
    return frame.assign(**{name: frame[name].mask(broken) for name in sums})


def _broken(frame: pd.DataFrame) -> pd.Series[bool]:
    return (frame[[*BROKEN]].fillna(0) > 0).any(axis=1)


def group(frame: pd.DataFrame, columns: Sequence[str], moved: Sequence[str]) -> pd.DataFrame:
    """Add up the sums of each group exactly, over the tensors that moved.

    A tensor with entries that are not finite is left out. A group in which nothing moved has the
    sums of its unmoved tensors; one in which nothing else moved has none. `numel` counts the
    entries that the sums are over, `params` those of every tensor given.
    """
    keys = list(columns)
    members: Mapping[Any, Any] = {(): np.arange(len(frame))}
    if keys:
        members = frame.groupby(keys, dropna=False, sort=True).indices
    moving_at_all = frame["status"].isin(moved).to_numpy(bool)
    measured_at_all = frame["delta_sq"].notna().to_numpy(bool)
    active = moving_at_all & measured_at_all
    still = (frame["status"] == "identical").to_numpy(bool) & measured_at_all
    lost = moving_at_all & _broken(frame).to_numpy(bool)
    sums = {name: frame[name].to_numpy(object) for name in COLUMNS}
    sizes = frame["numel"].to_numpy(np.int64, na_value=0)
    rows = []
    for key, here in members.items():
        moving = here[active[here]]
        measured = moving if len(moving) or lost[here].any() else here[still[here]]
        row = dict(zip(keys, key if isinstance(key, tuple) else (key,), strict=True))
        row |= {name: _total(values[measured], name) for name, values in sums.items()}
        row[TURNED] = _turned({name: values[measured] for name, values in sums.items()})
        row |= {"numel": int(sizes[measured].sum()), "params": int(sizes[here].sum())}
        row |= {"tensors": len(here), "moved": len(moving)}
        rows.append(row)
    types = {c: t for c, t in _TYPES.items() if c in keys or c in COLUMNS}
    names = [*keys, *COLUMNS, "numel", "params", "tensors", "moved"]
    return pd.DataFrame(rows, columns=names).astype(types)


def _total(values: Array, name: str) -> float | int | None:
    """Add a column up, to the same bits in any order; missing where a part of it is missing."""
    if not len(values) or any(value is pd.NA for value in values):
        return None
    if name in MAXIMA:
        return float(max(values))
    return int(sum(values)) if name in COUNTS else exact(values)[0]


def _turned(sums: Mapping[str, Array]) -> float | None:
    """Return what is left beside the group's own rescaling; missing where the sums tell it."""
    turned = [None if value is pd.NA else float(value) for value in sums[TURNED]]
    parts: list[list[float]] = [sums[name].tolist() for name in ("base_sq", "inner", "delta_sq")]
    if turned.count(None) == len(turned) or pd.isna(np.array(parts, object)).any():
        return None
    base_sq, inner, delta_sq = parts
    return turned_sq(base_sq, inner, delta_sq, turned)


def save(frame: pd.DataFrame, about: Mapping[str, Any], path: Path) -> Path:
    """Write a frame by the path's ending: .json (with `about`), .csv or .parquet."""
    ending = path.suffix.lower()
    if ending == ".json":
        text = json.dumps(_document(frame, about), ensure_ascii=False, indent=1, allow_nan=False)
        with written(path) as temporary:
            # a path that is not UTF-8 keeps its bytes, as the escapes that JSON has for them
            temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    elif ending == ".csv":
        with written(path) as temporary:
            shapes = frame["shape"].map(lambda shape: "x".join(map(str, shape or ())))
            frame.assign(shape=shapes).to_csv(temporary, index=False)
    elif ending == ".parquet":
        require("pyarrow", "parquet", "writing Parquet")
        with written(path) as temporary:
            frame.assign(shape=frame["shape"].map(lambda shape: list(shape or ()))).to_parquet(
                temporary, index=False
            )
    else:
        raise BadCall(f"{path}: a diff is saved as .json, .csv or .parquet")
    return path


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as dicts of plain values; what is missing is None."""
    whole = frame.astype("object")
    return [
        {str(name): value for name, value in row.items()}
        for row in whole.where(whole.notna(), None).to_dict("records")
    ]


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Lend a temporary path beside `path`, and move it there only when it is whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
    except OSError as error:
        raise BadFile(f"{path}: cannot be written ({error.strerror or error})") from error


_UNFIT = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
_ABOUT: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("counts", "renamed", "unmatched", "unreadable", "scalings"), dict),
    **dict.fromkeys(("files", "adapter", "versions", "spectra"), dict),
    **dict.fromkeys(("base", "tuned", "kind"), (str, type(None))),
    "coverage": (int, float),
    "notes": list,
}


def load(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read what `save` wrote as JSON: the frame and what it was made from.

    Raises
    ------
    BadFile
        The file is not a saved diff.
    """
    try:
        stamp(path)
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            told = str(document["format"])[:40]
            raise BadFile(f"{path}: written in format {told!r}, this is {FORMAT!r}")
        rows, about = document["tensors"], _about(path, document["about"])
        decoded = [{k: _decoded(k, v) for k, v in row.items()} for row in rows]
        return frame_of(decoded, [str(name) for name in document.get("columns", ())]), about
    except _UNFIT as error:
        raise BadFile(f"{path}: not a diff saved by ftdiff ({type(error).__name__})") from error
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error


def _about(path: Path, found: Any) -> dict[str, Any]:
    """Return what a diff was made from, once what is read of it has the type that it is saved in.

    Raises
    ------
    BadFile
        A part has another type.
    """
    if not isinstance(found, dict):
        raise BadFile(f"{path}: not a diff saved by ftdiff: about is {type(found).__name__}")
    for name, wanted in _ABOUT.items():
        if name in found and not isinstance(found[name], wanted):
            held = type(found[name]).__name__
            raise BadFile(f"{path}: not a diff saved by ftdiff: about.{name} is {held}")
    float(found.get("coverage", 0))  # whole numbers may be beyond it
    if not all(isinstance(file, dict) for side in found.get("files", {}).values() for file in side):
        raise BadFile(f"{path}: not a diff saved by ftdiff: about.files has no records")
    for name, note in found.get("spectra", {}).items():
        if wrong := _wrong(note):
            told = f"about.spectra of {one_line(name, 200)}: {wrong}"
            raise BadFile(f"{path}: not a diff saved by ftdiff: {told}")
    return found


def _wrong(note: Any) -> str:
    """Return what is wrong with how a tensor's metrics were measured; "" if nothing is."""
    if not isinstance(note, dict):
        return f"it is {type(note).__name__}"
    bounds = [value for name, value in note.items() if name.endswith("bound")]
    if not all(type(bound) in (int, float) for bound in bounds):
        return "a bound is no number"
    return curve.fault(note["curve"]) if "curve" in note else ""


def _document(frame: pd.DataFrame, about: Mapping[str, Any]) -> dict[str, Any]:
    columns = {name: frame[name].tolist() for name in frame}
    rows = [
        {
            name: _encoded(value)
            for name, value in zip(columns, values, strict=True)
            if isinstance(value, tuple) or not pd.isna(value)
        }
        for values in zip(*columns.values(), strict=True)
    ]
    return {"format": FORMAT, "about": dict(about), "columns": list(frame), "tensors": rows}


def _encoded(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    return list(value) if isinstance(value, tuple) else value


def _decoded(name: str, value: Any) -> Any:
    if name == "shape":
        if not all(type(side) is int and side >= 0 for side in value):
            raise TypeError(name)
        return tuple(value)
    return np.float64(value) if _TYPES.get(name, "Float64") == "Float64" else value
