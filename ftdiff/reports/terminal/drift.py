"""What `ftdiff drift` prints: layers, predictions and matrices, each number with its floor."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ftdiff.analyses.drift import Drift
from ftdiff.analyses.finding import counted, listed
from ftdiff.comparison import csv_text
from ftdiff.comparison.frame import records
from ftdiff.reports.terminal.findings import write_findings
from ftdiff.reports.terminal.tables import (
    ROWS,
    escape,
    new_console,
    write_line,
    write_named,
    write_table,
)

#: Of numbers of about 1, what is below this is what float64 leaves of 0.
_DUST = 1e-12
#: Layers that are printed; of more, the first, the last and some between.
_LAYERS = 32


def show_drift(found: Drift, format_: str = "table") -> None:
    """Print states by layer, predictions, the matrices that add most, and what is to be said.

    As JSON the whole, as CSV a row per site, layer and position.
    """
    if format_ == "json":
        sys.stdout.write(found.json() + "\n")
        return
    if format_ == "csv":
        csv_text.write(found.frame, sys.stdout)
        return
    out, about = new_console(), found.about
    text = about["text"]
    title = f"{about['base']} → {about['tuned']}: {text['texts']} texts of {text['file']}"
    write_line(out, f"[bold]{escape(title)}[/], {text['tokens']:,} tokens")
    write_line(out, f"[dim]floors: {escape(about['floor'])}[/]")
    write_findings(out, found.findings())
    write_table(out, "predictions, a token", _predictions(found))
    write_table(out, "states after each layer", _layers(found))
    write_table(out, "what matrices add to their outputs", _matrices(found))
    if rest := about["unmeasured"]:
        others = counted(len(rest), "parameter")
        out.print(f"[dim]{others} that moved are no such matrix ({escape(listed(rest))})[/]")
    write_named(out, "notes", dict.fromkeys(about["notes"], ""))


def _predictions(found: Drift) -> list[Mapping[str, Any]]:
    all_ = found.overall
    if not all_:
        return []
    return [
        {"": "loss of the base", "value": all_["loss_base"], "floor": None},
        {"": "loss of the fine-tune", "value": all_["loss_tuned"], "floor": None},
        *(
            {"": label, "value": _clean(all_[name]), "floor": _clean(all_[f"{name}_floor"])}
            for name, label in (
                *(("loss_change", "change of loss"), ("kl", "KL(tuned‖base)")),
                ("flips", "first choices that flip"),
            )
        ),
    ]


def _clean(value: float) -> float:
    return 0.0 if abs(value) < _DUST else value


def _layers(found: Drift) -> list[Mapping[str, Any]]:
    rows = [
        row for row in records(found.frame) if row["site"] == "block" and row["position"] == "all"
    ]
    every = -(-len(rows) // _LAYERS)
    kept = [row for i, row in enumerate(rows) if i % every == 0 or i == len(rows) - 1]
    massive = any(row["massive"] for row in rows)
    names = ["relative_change", "cosine_distance", "cka"]
    names += [f"usual_{name}" for name in names] if massive else []
    stacks = len({row["stack"] for row in rows}) > 1
    return [
        {
            **({"stack": row["stack"]} if stacks else {}),
            "layer": row["layer"],
            **({"massive": row["massive"]} if massive else {}),
            **{key: row[key] for name in names for key in (name, f"{name}_floor")},
        }
        for row in kept
    ]


def _matrices(found: Drift) -> list[Mapping[str, Any]]:
    ranked = found.tensors.sort_values("output_rank", kind="stable", na_position="last")
    rows = records(ranked.head(ROWS))
    names = ("tensor", "output_change", "output_change_floor", "relative_norm")
    return [{**{n: row[n] for n in names}, "rank": row["output_rank"],
             "rank by norm": row["norm_rank"]} for row in rows]  # fmt: skip
