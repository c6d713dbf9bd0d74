"""What `ftdiff similarity` prints: who is like whom, and what merges keep."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ftdiff.analyses.finding import gravest_first
from ftdiff.analyses.pairwise import said as of_files
from ftdiff.analyses.pairwise import troubles
from ftdiff.analyses.similarity import Against, Similarity, bias
from ftdiff.analyses.similarity.storage import FORM, document
from ftdiff.comparison import csv_text
from ftdiff.comparison.frame import records
from ftdiff.numbers import MISSING, signed
from ftdiff.reports.terminal.findings import write_findings
from ftdiff.reports.terminal.tables import escape, new_console, write_line, write_named, write_table

# More names than this have no matrix in a terminal; the nearest of each are shown instead.
_MATRIX, _ROWS = 12, 24


def show_similarity(found: Similarity, format_: str = "table", by: Sequence[str] = ()) -> None:
    """Print a matrix of cosines, the nearest of each, what merging keeps, and what is to be said.

    As JSON the whole, as CSV a row per group and pair.
    """
    if format_ == "json":
        sys.stdout.write(FORM.text(document(found.parts)) + "\n")
        return
    if format_ == "csv":
        csv_text.write(found.by(*by), sys.stdout)
        return
    out, base = new_console(), found.about.get("base")
    of = f" of {escape(str(base))}" if base else ""
    write_line(out, f"[bold]{len(found.names)} fine-tunes{of}[/]")
    if len(found.names) <= _MATRIX:
        write_table(out, "cosine of ΔW", _matrix(found.matrix))
        if bias.pulled(found):
            before = found.table("cosine_unrounded")
            write_table(out, "cosine of ΔW before rounding, estimated", _matrix(before))
    write_table(out, "nearest", _nearest(found))
    if by:
        pairs = found.by(*by)
        named_columns = [*by, "a", "b", "cosine", "cosine_null"]
        rest = [name for name in pairs if name not in (*named_columns, "tensors")]
        write_table(out, "pairs", records(pairs[[*named_columns, *rest]].head(_ROWS)))
    write_table(out, "a merge of all would keep", _kept(found.forecast()))
    write_findings(out, found.findings())
    for name, tensors in found.about.get("apart", {}).items():
        write_named(out, f"not lined up: {escape(name)}", tensors)


def show_against(found: Against, nearest: int | None = None, format_: str = "table") -> None:
    """Print the others, the most alike first, and what is to be said of the files.

    As JSON all rows with what they were made from, as CSV the rows.
    """
    rows = found.nearest(nearest)
    if format_ == "csv":
        csv_text.write(rows, sys.stdout)
        return
    if format_ == "json":
        finite = rows.replace([np.inf, -np.inf], np.nan)
        whole = {"against": found.name, "about": found.about, "nearest": records(finite)}
        sys.stdout.write(json.dumps(whole, indent=1, allow_nan=False) + "\n")
        return
    out = new_console()
    listed = found.about.get("shortlist")
    count = len(found.names) if listed is None else listed["others"]
    others = f"{count:,} other{'s' if count > 1 else ''}"
    write_line(out, f"[bold]{escape(found.name)} against {others}[/]")
    if listed is not None and listed["below"] is not None:
        write_line(
            out,
            f"{listed['measured']:,} of them were measured; by a sketch each of the others has a "
            f"cosine below {listed['below']:.2g} ({listed['standard_errors']:g} standard errors)",
        )
    shown = records(rows.head(nearest or _ROWS))
    names = ("name", "cosine", "over_null", "norm_ratio", "snr")
    told = {"over_null": "times what chance gives", "norm_ratio": "times as long"}
    write_table(
        out, "nearest", [{told.get(name, name): row[name] for name in names} for row in shown]
    )
    write_findings(out, gravest_first([*troubles(found.about), *of_files(found.about)]))
    for name, tensors in found.about.get("apart", {}).items():
        write_named(out, f"not lined up: {escape(name)}", tensors)


def _matrix(matrix: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {"": f"{i} {name}", **{str(j): _cosine(value) for j, value in enumerate(row, 1)}}
        for i, (name, row) in enumerate(zip(matrix.index, matrix.to_numpy(), strict=True), 1)
    ]


def _cosine(value: float) -> str:
    """Write a cosine; what is rounded to nothing has no sign, and no change has no cosine.

    >>> _cosine(-0.0001), _cosine(-0.25), _cosine(float("nan"))
    ('0.000', '−0.250', '–')
    """
    return MISSING if value != value else signed(value, "z.3f")


def _nearest(found: Similarity) -> list[Mapping[str, Any]]:
    rows = records(found.neighbours.head(_ROWS))
    return [
        {
            "name": row["name"],
            "nearest": row["nearest"],
            "cosine": row["cosine"],
            "times what chance gives": row["over_null"],
        }
        for row in rows
    ]


def _kept(forecast: pd.DataFrame) -> list[Mapping[str, Any]]:
    """Return a row per fine-tune, a column per method."""
    wide = forecast[forecast["method"] != "sum"].pivot(
        index="name", columns="method", values="kept"
    )
    wide = wide.loc[[*dict.fromkeys(forecast["name"])]].reset_index().head(_ROWS)
    return [
        {str(k): _percent(v) if k != "name" else v for k, v in row.items()} for row in records(wide)
    ]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
