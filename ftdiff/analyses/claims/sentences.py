"""What does not hold, in one sentence that names the tensor and the number."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ftdiff.analyses.claims.predicate import ROW, encoded
from ftdiff.analyses.claims.values import shown, two
from ftdiff.comparison.frame import plain
from ftdiff.comparison.result import Diff
from ftdiff.deltas.moments import COLUMNS

#: What is known of a tensor only once it is measured.
_MEASURED = {"status", "numel", "reason", *COLUMNS}


def rows_of(diff: Diff) -> dict[str, dict[str, Any]]:
    """Return a diff's rows by tensor, as a claim writes them."""
    return {
        str(row["tensor"]): {name: encoded(row.get(name)) for name in ROW}
        for row in plain(diff.columns)
    }


def differing(claimed: Diff, found: Diff) -> str:
    """Say what the first row is that differs, and in what; "" where none does."""
    return next((said for _, _, said in differences(rows_of(claimed), rows_of(found))), "")


def differences(
    claimed: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, Mapping[str, Any]],
    unmeasured: Collection[str] = (),
) -> Iterator[tuple[str, str, str]]:
    """Yield tensor, column and sentence for each row that differs.

    Parameters
    ----------
    claimed, found
        Rows by tensor.
    unmeasured
        Tensors that were not measured again: of these only what headers tell is held.
    """
    for name, row in claimed.items():
        if name not in found:
            yield name, "tensor", f"{shown(name)}: in the claim, and not in what the files give"
            continue
        for column in ROW:
            if name in unmeasured and column in _MEASURED:
                continue
            mine, theirs = row.get(column), found[name][column]
            if mine != theirs:
                yield name, column, f"{shown(name)}: {two(column, mine, theirs)}"
                break
    for name in found:
        if name not in claimed:
            yield name, "tensor", f"{shown(name)}: in what the files give, and not in the claim"
