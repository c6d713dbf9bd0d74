"""Summaries for a terminal: tables that fit its width, plain text when piped."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from rich import markup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftdiff.errors import one_line
from ftdiff.inspection import Contents
from ftdiff.merging import Verification
from ftdiff.metrics import Metric, groups
from ftdiff.parentage import Lineage
from ftdiff.reports import characters
from ftdiff.reports.document import Document, document
from ftdiff.reports.maps import maps, shown_metric
from ftdiff.result import MOVED, Diff

_ROWS = 12


def show(diff: Diff, metric: str = "relative_norm", format_: str = "table") -> None:
    """Print a diff on standard output: a summary, or the whole of it as JSON or CSV."""
    if format_ == "table":
        console = _console()
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
    console = _console()
    base = next(iter(diffs.values())).about["base"]
    console.print(f"[bold]{escape(base or 'no base')} → {len(diffs)} fine-tunes[/]")
    _table(console, "", [_sibling(name, diff, metric) for name, diff in diffs.items()])
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
    console = _console()
    for label, value in contents.facts.items():
        console.print(f"[dim]{label:>16}[/]  {escape(value)}", soft_wrap=True)
    _table(console, "", contents.components)
    if contents.scalings:
        console.print("[bold]scale and where it comes from[/]")
    for scaling in contents.scalings:
        line = f"{scaling['modules']:>6} × {scaling['scale']}  [dim]{escape(scaling['first'])}[/]"
        console.print(line, soft_wrap=True)
    _named(console, "matched nothing", contents.unmatched)
    for note in contents.notes:
        console.print(f"[yellow]![/] {escape(note)}", soft_wrap=True)


def show_verification(found: Verification, format_: str = "table") -> None:
    """Print a verdict, its sentences and a table of what is wrong; or all rows as JSON or CSV."""
    if format_ == "table":
        _verdict(f"{found.verdict}: {found.about['merged']}", found.sentences)
        shown = ["tensor", "status", "scale", "ulps", "unequal", "said"]
        wrong = found.wrong[shown].head(_ROWS)
        _table(_console(), "what is wrong" if len(wrong) else "", _records(wrong))
        _named(_console(), "matched nothing", found.about["unmatched"])
    else:
        _whole(found, format_)


def show_lineage(found: Lineage, format_: str = "table") -> None:
    """Print which candidate is the parent, and the evidence for each; or it as JSON or CSV."""
    if format_ == "table":
        _verdict(found.verdict, found.sentences)
        _table(_console(), "candidates", _records(found.frame))
    else:
        _whole(found, format_)


def show_parts(
    diff: Diff, by: str, metric: str = "relative_norm", top: int = _ROWS, format_: str = "table"
) -> None:
    """Print the weights' parts that moved most by a metric of sums; or all, as JSON or CSV."""
    if format_ != "table":
        show(diff, metric, format_)
        return
    console, frame = _console(), diff.frame
    name = "rms_change" if frame[metric].isna().all() else metric  # the one that needs no base
    what = f"{diff.about['base'] or '-'} → {diff.about['tuned']}"
    counts = " · ".join(f"{n:,} {s}" for s, n in frame["status"].value_counts().items())
    console.print(f"[bold]{escape(what)}[/]  by {by}: {counts}", soft_wrap=True)
    told = ("component", "layer", "row", "column", "token", "head", "kv_head", "status")
    shown = [word for word in told if word in frame and frame[word].notna().any()]
    metrics = dict.fromkeys([name, "relative_norm", "rotation", "scale_share", "energy_share"])
    weights = frame[frame["param"] == "weight"] if by == "head" else frame
    ranked = weights.sort_values(name, ascending=False, na_position="last", kind="stable").head(top)
    _table(console, f"{by}s that moved most", _records(ranked[[*shown, *metrics]]))
    _named(console, "not cut", diff.about.get("uncut", {}))
    _named(console, "unreadable", diff.about["unreadable"])


def show_metrics() -> None:
    """Print the registry of metrics, group by group."""
    console = _console()
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
    facts = [f"{name} {_number(report.overall[name])}" for name in names if name in report.overall]
    if facts:
        console.print("overall  " + " · ".join(facts), soft_wrap=True)
    for line in drawn:
        console.print(line)
    how = f" ({report.methods})" if report.methods else ""
    _table(console, f"tensor by tensor{how}", report.apart)
    _table(console, "components", report.components)
    _table(console, "layers that moved most", _top(report.layers, metric))
    for caution in report.cautions:
        console.print(f"[yellow]![/] {escape(caution)}", soft_wrap=True)
    for heading, listed in report.lists.items():
        _named(console, heading, listed)


def _verdict(verdict: str, sentences: Iterable[str]) -> None:
    console = _console()
    console.print(f"[bold]{escape(verdict)}[/]", soft_wrap=True)
    for sentence in sentences:
        console.print(f"  {escape(sentence)}", soft_wrap=True)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    whole = frame.astype("object")
    return [
        {str(name): value for name, value in row.items()}
        for row in whole.where(whole.notna(), None).to_dict("records")
    ]


def _whole(found: Verification | Lineage, format_: str) -> None:
    sys.stdout.write(found.json() + "\n" if format_ == "json" else found.frame.to_csv(index=False))


def _top(rows: Sequence[Mapping[str, Any]], metric: str) -> list[Mapping[str, Any]]:
    by = (
        metric if rows and metric in rows[0] else next(iter(list(rows[0])[1:2]), "") if rows else ""
    )
    ranked = sorted(rows, key=lambda row: -(row.get(by) or 0.0))
    return ranked[:5]


def _named(console: Console, heading: str, listed: Mapping[str, str]) -> None:
    if not listed:
        return
    console.print(f"[bold]{heading}[/] ({len(listed)})")
    for name, said in list(listed.items())[:_ROWS]:
        console.print(f"  {escape(name)}  [dim]{escape(said)}[/]", soft_wrap=True)
    if len(listed) > _ROWS:
        console.print(f"  … and {len(listed) - _ROWS} more")


def _table(console: Console, title: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as a table of the first columns that fit; what is empty throughout is left out."""
    cells = [{name: _number(value) for name, value in row.items()} for row in rows]
    if not cells:
        return
    if title:
        console.print(f"[bold]{title}[/]")
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    names = [name for name in cells[0] if any(row[name] not in ("", "–") for row in cells)]
    room = console.width
    shown: list[str] = []
    for name in names:
        width = max(len(name), *(len(row[name]) for row in cells)) + 2
        if shown and width > room:
            break
        room -= width
        shown.append(name)
        table.add_column(name, justify="left" if name == names[0] else "right", overflow="fold")
    for row in cells:
        table.add_row(*(escape(row[name]) for name in shown))
    console.print(table)


def _console() -> Console:
    """Return a console for standard output; a pipe has no width to fit."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def escape(text: str) -> str:
    """Names come from files: neither markup nor control characters in them count."""
    return markup.escape(one_line(text))


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.2e}"
    return f"{value:,}" if isinstance(value, int) else str(value)
