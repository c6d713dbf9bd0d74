"""Why a tensor or a whole diff is odd, as codes that rules read; the words beside them are prose.

A tensor's codes are in the frame's `reason`, apart by spaces; those of the files are the records
of `about["reasons"]`, each with its data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.comparison.frame import Columns, length
from ftdiff.comparison.statuses import MOVED
from ftdiff.formats.note import Note
from ftdiff.tensors import DTYPES, Array

if TYPE_CHECKING:
    import pandas as pd

#: The adapter names it, and ΔW is exactly zero.
DEAD = "dead"
#: Another shape than the base's: only the common rows, or nothing, were compared.
COMMON_ROWS, OTHER_SHAPE = "common-rows", "other-shape"
#: A vocabulary's rows stand in another order, and each was compared with the one that it is; of
#: the files, in which tensors.
REORDERED = "reordered-rows"
#: It holds NaN or Inf.
NONFINITE = "nonfinite"
#: A side is stored quantised: its own rounding is in the change, by how much is unknown.
COARSE = "coarse"
#: It is the base's, rounded to few bits; of the files, how many tensors are, and to what.
FEW_BITS = "few-bits"
#: The base is all zero: there is no relative change.
ZERO_BASE = "zero-base"
#: A key of the fine-tune's files that led to no change.
UNMATCHED = "unmatched"
#: Its file holds weights, of which the change is unknown without a base; of the files, which.
SAVED = "saved-without-base"
#: Of the files: a side uses a parameter under a second name, which the other side stores.
TIED = "tied"
#: Of the files: names that are not the same were taken for one.
MATCHED = "names-matched"
#: Of the files: layers were inserted, removed, copied or put in another order.
LAYERS = "layers"
#: Of the files: a few rows say that it is no relative of the base.
KINSHIP = "kinship"
#: Of the files: a side is stored in float32 and holds bfloat16's values.
SAVED_WIDER = "saved-wider"
#: It could not be read.
UNREADABLE = "unreadable"
#: Codes of tensors.
TENSOR_REASONS = (
    *(DEAD, COMMON_ROWS, OTHER_SHAPE, REORDERED, NONFINITE, COARSE, FEW_BITS, ZERO_BASE),
    *(UNMATCHED, SAVED, UNREADABLE),
)


def noted(notes: Iterable[Note]) -> dict[str, str | None]:
    """Return the frame's columns of a tensor's notes: the words, and the codes."""
    held = list(notes)
    codes = " ".join(note.code for note in held)
    return {"note": "; ".join(held) or None, "reason": codes or None}


def has_reason(frame: pd.DataFrame, code: str) -> pd.Series[bool]:
    """Say which rows have a code."""
    if "reason" not in frame:
        return frame["tensor"].map(lambda _: False).astype(bool)
    words = frame["reason"].fillna("").str.split(" ")
    return words.map(lambda held: code in held).astype(bool)


def with_code(columns: Columns, code: str) -> Array:
    """Say which rows of columns have a code."""
    held = (str(codes or "").split(" ") for codes in columns["reason"])
    return np.fromiter((code in codes for codes in held), bool, length(columns))


def coarse(frame: pd.DataFrame, about: Mapping[str, Any]) -> pd.Series[bool]:
    """Say which changes have a side's own rounding in them, of files that are stored quantised.

    In a diff that was saved without codes these are the full tensors that moved, and of which a
    side is stored in something that is no dtype.
    """
    if knows_reasons(about):
        return has_reason(frame, COARSE)
    both = frame["base_dtype"].notna() & frame["tuned_dtype"].notna()
    scheme = ~(frame["base_dtype"].isin([*DTYPES]) & frame["tuned_dtype"].isin([*DTYPES]))
    return (both & scheme & frame["status"].isin(MOVED)).astype(bool)


def knows_reasons(about: Mapping[str, Any]) -> bool:
    """Say whether a diff was made with codes; where not, the lack of one says nothing."""
    return "reasons" in about


def reasons(about: Mapping[str, Any], code: str) -> Iterator[Mapping[str, Any]]:
    """Yield the records of a code among those of a diff's files."""
    yield from (one for one in about.get("reasons", ()) if one.get("code") == code)
