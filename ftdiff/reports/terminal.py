"""Summaries for a terminal: tables that fit its width, plain text when piped."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from ftdiff.frames import records
from ftdiff.inspection import Contents
from ftdiff.merging import Verification
from ftdiff.metrics import Metric, groups
from ftdiff.parentage import Lineage
from ftdiff.reports import characters
from ftdiff.reports.document import Document, document
from ftdiff.reports.maps import maps, shown_metric
from ftdiff.reports.tables import ROWS, escape, new_console, number, write_named, write_table
from ftdiff.result import MOVED, Diff


def show(diff: Diff, metric: str = "relative_norm", format_: str = "table") -> None:
    """Print a diff on standard output: a summary, or the whole of it as JSON or CSV."""
    if format_ == "table":
        console = new_console()
        _summary(console, document(diff), metric, _drawn(console, diff, metric))
        return
    with TemporaryDirectory() as folder:
        path = diff.save(Path(folder) / f"diff.{format_}")
        sys.stdout.write(path.read_text(encoding="utf-8"))


def show_siblings(
    diffs: Mapping[str, Diff], metric: str = "relative_norm", format_: str = "table"
) -> None:
    """Print a row for each of several fine-tunes; or all of them as JSON (a list) or CSV."""
    if format_ == "json":
        with TemporaryDirectory() as folder:
            saved = (diff.save(Path(folder) / "diff.json") for diff in diffs.values())
            texts = [path.read_text(encoding="utf-8").rstrip("\n") for path in saved]
        sys.stdout.write("[\n" + ",\n".join(texts) + "\n]\n")
        return
    if format_ == "csv":
        frames = [diff.frame.assign(tuned=name) for name, diff in diffs.items()]
        whole = pd.concat(frames, ignore_index=True)
        shapes = whole["shape"].map(lambda shape: "x".join(map(str, shape or ())))
        whole = whole.assign(shape=shapes)
        whole.insert(0, "tuned", whole.pop("tuned"))
        sys.stdout.write(whole.to_csv(index=False))
        return
    console = new_console()
    base = next(iter(diffs.values())).about["base"]
    console.print(f"[bold]{escape(base or 'no base')} → {len(diffs)} fine-tunes[/]")
    write_table(console, "", [_sibling(name, diff, metric) for name, diff in diffs.items()])
    for name, diff in diffs.items():
        for caution in document(diff).cautions:
            console.print(f"[yellow]![/] {escape(name)}: {escape(caution)}", soft_wrap=True)


def _sibling(name: str, diff: Diff, metric: str) -> dict[str, Any]:
    """Return a fine-tune's row: how much of it was compared, how far it moved, where most."""
    wanted = dict.fromkeys(
        [metric, "relative_norm", "rms_change", "precision_floor", "scale_share"]
    )
    overall = diff.overall
    row: dict[str, Any] = {"tuned": name, "kind": str(diff.about["kind"])}
    row |= {"compared": f"{diff.about['coverage']:.1%}"}
    row |= {"moved": int(diff.frame["status"].isin(MOVED).sum())}
    row |= {one: overall.get(one) for one in wanted}
    long = diff.by("component", metrics=("lift",), param="weight").dropna()
    if len(long):
        row["most lift"] = str(long["component"].iloc[int(long["lift"].to_numpy(float).argmax())])
    return row


def show_contents(contents: Contents) -> None:
    """Print what `inspect` found."""
    console = new_console()
    for label, value in contents.facts.items():
        console.print(f"[dim]{label:>16}[/]  {escape(value)}", soft_wrap=True)
    write_table(console, "", contents.components)
    if contents.scalings:
        console.print("[bold]scale and where it comes from[/]")
    for scaling in contents.scalings:
        line = f"{scaling['modules']:>6} × {scaling['scale']}  [dim]{escape(scaling['first'])}[/]"
        console.print(line, soft_wrap=True)
    write_named(console, "matched nothing", contents.unmatched)
    for note in contents.notes:
        console.print(f"[yellow]![/] {escape(note)}", soft_wrap=True)


def show_verification(found: Verification, format_: str = "table") -> None:
    """Print a verdict, its sentences and a table of what is wrong; or all rows as JSON or CSV."""
    if format_ == "table":
        _verdict(f"{found.verdict}: {found.about['merged']}", found.sentences)
        shown = ["tensor", "status", "scale", "ulps", "unequal", "said"]
        wrong = found.wrong[shown].head(ROWS)
        write_table(new_console(), "what is wrong" if len(wrong) else "", records(wrong))
        write_named(new_console(), "matched nothing", found.about["unmatched"])
    else:
        _whole(found, format_)


def show_lineage(found: Lineage, format_: str = "table") -> None:
    """Print which candidate is the parent, and the evidence for each; or it as JSON or CSV."""
    if format_ == "table":
        _verdict(found.verdict, found.sentences)
        write_table(new_console(), "candidates", records(found.frame))
    else:
        _whole(found, format_)


def show_parts(
    diff: Diff, by: str, metric: str = "relative_norm", top: int = ROWS, format_: str = "table"
) -> None:
    """Print the weights' parts that moved most by a metric of sums; or all, as JSON or CSV."""
    if format_ != "table":
        show(diff, metric, format_)
        return
    console, frame = new_console(), diff.frame
    name = "rms_change" if frame[metric].isna().all() else metric  # the one that needs no base
    what = f"{diff.about['base'] or '-'} → {diff.about['tuned']}"
    counts = " · ".join(f"{n:,} {s}" for s, n in frame["status"].value_counts().items())
    console.print(f"[bold]{escape(what)}[/]  by {by}: {counts}", soft_wrap=True)
    told = ("component", "layer", "row", "column", "token", "head", "kv_head", "status")
    shown = [word for word in told if word in frame and frame[word].notna().any()]
    metrics = dict.fromkeys([name, "relative_norm", "rotation", "scale_share", "energy_share"])
    weights = frame[frame["param"] == "weight"] if by == "head" else frame
    ranked = weights.sort_values(name, ascending=False, na_position="last", kind="stable").head(top)
    write_table(console, f"{by}s that moved most", records(ranked[[*shown, *metrics]]))
    write_named(console, "not cut", diff.about.get("uncut", {}))
    write_named(console, "unreadable", diff.about["unreadable"])


def show_metrics() -> None:
    """Print the registry of metrics, group by group."""
    console = new_console()
    for metric in (metric for group in groups().values() for metric in group):
        console.print(f"[bold]{metric.name}[/]  {escape(metric.formula)}", soft_wrap=True)
        doc = (metric.compute.__doc__ or "").strip().partition("\n")[0]
        lines = {
            "": doc,
            "range": metric.range + (f", in units of {metric.unit}" if metric.unit else ""),
            "noise gives": metric.null,
            "cost": metric.cost,
            "measured": _measured(metric),
            "source": metric.source,
        }
        for label, text in lines.items():
            if text:
                console.print(f"    {label + ': ' if label else ''}{escape(text)}", soft_wrap=True)


def _measured(metric: Metric) -> str:
    if metric.needs == "sums":
        return "always"
    return f"when asked for: -m {metric.name}, or -m {metric.group} for the group"


def _drawn(console: Console, diff: Diff, metric: str) -> list[Text]:
    """Return the lines of one heatmap for each stack."""
    name = shown_metric(diff, metric)
    shown = maps(diff, [name]) if name in diff.frame else ()
    return [line for one in shown for line in characters.heatmap(console, one, name)]


def _summary(console: Console, report: Document, metric: str, drawn: Iterable[Text]) -> None:
    console.print(f"[bold]{escape(report.title)}[/]", soft_wrap=True)
    counts = " · ".join(f"{count:,} {name}" for name, count in report.statuses.items())
    if not math.isnan(report.coverage):
        counts = f"{report.coverage:.1%} of the parameters compared · {counts}"
    console.print(counts, soft_wrap=True)
    names = dict.fromkeys([metric, "relative_norm", "precision_floor", "scale_share", "cosine"])
    facts = [f"{name} {number(report.overall[name])}" for name in names if name in report.overall]
    if facts:
        console.print("overall  " + " · ".join(facts), soft_wrap=True)
    for line in drawn:
        console.print(line)
    how = f" ({report.methods})" if report.methods else ""
    write_table(console, f"tensor by tensor{how}", report.apart)
    write_table(console, "components", report.components)
    write_table(console, "layers that moved most", _top(report.layers, metric))
    for caution in report.cautions:
        console.print(f"[yellow]![/] {escape(caution)}", soft_wrap=True)
    for heading, listed in report.lists.items():
        write_named(console, heading, listed)


def _verdict(verdict: str, sentences: Iterable[str]) -> None:
    console = new_console()
    console.print(f"[bold]{escape(verdict)}[/]", soft_wrap=True)
    for sentence in sentences:
        console.print(f"  {escape(sentence)}", soft_wrap=True)


def _whole(found: Verification | Lineage, format_: str) -> None:
    sys.stdout.write(found.json() + "\n" if format_ == "json" else found.frame.to_csv(index=False))


def _top(rows: Sequence[Mapping[str, Any]], metric: str) -> list[Mapping[str, Any]]:
    by = (
        metric if rows and metric in rows[0] else next(iter(list(rows[0])[1:2]), "") if rows else ""
    )
    ranked = sorted(rows, key=lambda row: -(row.get(by) or 0.0))
    return ranked[:5]
