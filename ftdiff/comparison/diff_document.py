"""A diff as a document, exact to the bit, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ftdiff.comparison.beside.kinds import SENTENCES, sentence
from ftdiff.comparison.frame import Columns, of_rows
from ftdiff.comparison.json_lines import lines
from ftdiff.comparison.model_facts import are_facts
from ftdiff.comparison.saved_numbers import LARGEST, is_count, is_number
from ftdiff.comparison.saved_structure import fault
from ftdiff.comparison.selection import is_record
from ftdiff.comparison.storage import Form, Unfit
from ftdiff.errors import one_line
from ftdiff.metrics.linalg import spectrum_curve as curve
from ftdiff.tensors import Array

# In the first version layers of nested lists were numbered in one row, and kept so in such a file.
FORM = Form("diff", version=2, indent=1, rows="tensors", read=(1,), described=True)

_ABOUT: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("counts", "renamed", "unmatched", "unreadable", "scalings"), dict),
    **dict.fromkeys(("files", "adapter", "versions", "spectra", "sources", "parts"), dict),
    **dict.fromkeys(("shares", "beside", "importance", "structure", "selection", "config"), dict),
    **dict.fromkeys(("base", "tuned", "kind"), (str, type(None))),
    "cut": str,
    "coverage": (int, float),
    **dict.fromkeys(("notes", "reasons"), list),
}


def document(columns: Columns, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything as values that JSON holds, rows as its text."""
    return {"about": dict(about), "columns": list(columns), "tensors": lines(columns)}


def parts(stored: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the columns of a document, and what they were made from.

    Raises
    ------
    ValueError, KeyError, TypeError, OverflowError
        They are not what was saved.
    """
    rows, about = stored["tensors"], _about(stored["about"])
    if not isinstance(rows, list):
        raise Unfit(f"tensors is {type(rows).__name__}")
    for row in rows:
        if type(row["tensor"]) is not str:
            raise Unfit("a tensor has no name")
        if "shape" in row:
            row["shape"] = _shape(row["shape"])
    return of_rows(rows, [str(name) for name in stored.get("columns", ())]), about


def _about(found: Any) -> dict[str, Any]:
    """Return what a diff was made from, once what is read of it has the type that it is saved in.

    Raises
    ------
    Unfit
        A part has another type.
    """
    if not isinstance(found, dict):
        raise Unfit(f"about is {type(found).__name__}")
    for name, wanted in _ABOUT.items():
        if name in found and not isinstance(found[name], wanted):
            raise Unfit(f"about.{name} is {type(found[name]).__name__}")
    if not all(isinstance(reason, dict) for reason in found.get("reasons", ())):
        raise Unfit("about.reasons has no records")
    for reason in found.get("reasons", ()):
        _checked(reason)
    if wrong := _wrong_worth(found.get("importance", {})):
        raise Unfit(f"about.importance: {wrong}")
    if wrong := fault(found.get("structure", {})):
        raise Unfit(f"about.structure: {wrong}")
    if not all(map(are_facts, found.get("config", {}).values())):
        raise Unfit("about.config has no facts of a model")
    if "selection" in found and not is_record(found["selection"]):
        raise Unfit("about.selection has another type")
    for share in (found.get("coverage", 0), *found.get("shares", {}).values()):
        float(share)  # whole numbers may be beyond it
    if not all(isinstance(file, dict) for side in found.get("files", {}).values() for file in side):
        raise Unfit("about.files has no records")
    for name, note in found.get("spectra", {}).items():
        if wrong := _wrong(note):
            raise Unfit(f"about.spectra of {one_line(name, 200)}: {wrong}")
    return found


#: What is measured of parts, and what their numbers and layers are below.
_MEASURES = ("skip", "zero", "revert", "graft", "gate")
_OF_PART: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("stack", "component", "measure"), (str,)),
    "layer": (int,),
    **dict.fromkeys(("value", "low", "high", "p"), (int, float)),
}


def _wrong_worth(told: Mapping[str, Any]) -> str:
    """Return what is wrong with what a text said of a diff; "" if nothing is."""
    if not told:
        return ""
    loss = told.get("loss")
    if not isinstance(loss, dict) or "base" not in loss:
        return "it has no losses"
    numbers = (*loss.values(), told.get("gap", 0.0), told.get("nodes", 0))
    if not all(map(is_number, numbers)):
        return "a loss is no number"
    if not isinstance(told.get("text"), dict):
        return "it has no text"
    rows = told.get("parts", ())
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return "its parts are no records"
    return "" if all(map(_is_part, rows)) else "a part has another type"


def _is_part(row: Mapping[str, Any]) -> bool:
    """Say whether a record is of a part and one of its measures, with an interval or none."""
    held = {name: value for name, value in row.items() if name in _OF_PART and value is not None}
    return (
        all(type(value) in _OF_PART[name] for name, value in held.items())
        and held.get("measure") in _MEASURES
        and all(abs(value) < LARGEST for value in held.values() if not isinstance(value, str))
        and ("low" in held) == ("high" in held)
    )


def _checked(reason: Mapping[str, Any]) -> None:
    """Check that a record of files has what its sentence is made of."""
    if (code := str(reason.get("code"))) in SENTENCES:
        try:
            sentence(reason)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise Unfit(f"about.reasons: {code} lacks its data") from error


def _wrong(note: Any) -> str:
    """Return what is wrong with how a tensor's metrics were measured; "" if nothing is."""
    if not isinstance(note, dict):
        return f"it is {type(note).__name__}"
    bounds = [value for name, value in note.items() if name.endswith("bound")]
    if not all(map(is_number, bounds)):
        return "a bound is no number"
    return curve.fault(note["curve"]) if "curve" in note else ""


def _shape(sides: Any) -> tuple[int, ...]:
    if not all(map(is_count, sides)) or not is_count(math.prod(sides)):
        raise TypeError("shape")
    return tuple(sides)
