"""What is said of a tensor whose rows are not the base's: added, removed, or in another order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftdiff.comparison.reasons import REORDERED


def rows_said(row: Mapping[str, Any]) -> str | None:
    """Say it of a row of a diff; None where nothing of the tensor was compared, or it is no matrix.

    >>> rows_said({"shape": (67, 32), "numel": 64 * 32, "delta_sq": 0.0, "unequal": 0,
    ...            "base_dtype": "F32", "tuned_dtype": "F32"})
    "3 rows were added; the 64 common rows are the base's, bit for bit"
    """
    shape = row["shape"]
    if row["delta_sq"] is None or len(shape or ()) != 2 or not shape[1]:
        return None
    common = row["numel"] // shape[1]
    same = not row["delta_sq"] and not row["unequal"] and row["base_dtype"] == row["tuned_dtype"]
    fate = "are the base's, bit for bit" if same else "were compared"
    more = shape[0] - common
    added = f"{more:,} row{' was' if more == 1 else 's were'} added"
    if REORDERED in str(row.get("reason") or "").split(" "):
        rest = f"; {added}" if more > 0 else ""
        return f"the base's rows stand in another order: {common:,} {fate}{rest}"
    first = added if more > 0 else "rows of the base were removed"
    return f"{first}; the {common:,} common rows {fate}"
