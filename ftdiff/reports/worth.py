"""What layers are worth on a text, as rows of a table in the shell and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftdiff.comparison.frame import records
from ftdiff.comparison.result import Diff
from ftdiff.numbers import number

#: Of each measure of layers its interval is shown beside it.
_WITH_INTERVAL = ("revert", "graft")
_NUMBERS = ("skip", "zero", "revert", "graft", "gate", "path", "path_share", "saliency")


def layer_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of a row of `Importance.layers` or `Importance.components`."""
    layer = row["layer"]
    shown: dict[str, Any] = {"layer": "outside" if layer is None else str(layer)}
    if row.get("stack"):
        shown["stack"] = row["stack"]
    if row.get("component"):
        shown["component"] = row["component"]
    for name in _NUMBERS:
        if name in row:
            shown[name] = row[name]
        if name in _WITH_INTERVAL and row.get(f"{name}_low") is not None:
            shown[f"{name} 95%"] = " … ".join(
                number(row[f"{name}_{end}"], 3) for end in ("low", "high")
            )
            shown[f"{name} p"] = row[f"{name}_p"]
    return shown | {n: row[n] for n in ("relative_norm",) if row.get(n) is not None}


def worth(diff: Diff) -> tuple[dict[str, Any], ...]:
    """Return a row per layer of a diff that was measured on a text; none of another."""
    from ftdiff.analyses.importance import Importance

    if not diff.about.get("importance"):
        return ()
    rows = [layer_row(row) for row in records(Importance(diff).layers)]
    names = dict.fromkeys(name for row in rows for name in row)
    return tuple({name: row.get(name) for name in names} for row in rows)
