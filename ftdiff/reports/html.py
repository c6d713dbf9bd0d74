"""A page that stands alone: summary, heatmaps, tables, what did not match, provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ftdiff.comparison.frame import length
from ftdiff.comparison.result import Diff
from ftdiff.comparison.storage import written
from ftdiff.errors import one_line
from ftdiff.metrics import METRICS
from ftdiff.reports import runs_page
from ftdiff.reports.document import Document, document
from ftdiff.reports.maps import maps, shown_metric, shown_metrics
from ftdiff.reports.page_bounds import bounded
from ftdiff.reports.page_data import WORDS, island, table_metrics, words
from ftdiff.reports.page_marks import marked
from ftdiff.reports.svg import figure, number
from ftdiff.reports.templates import PAGES, hash_of, source

_SCRIPTS = ("numbers.js", "spectrum.js", "heatmap.js", "tensors.js", "start.js")
# What is there without scripts, and of each list: a page of names is no report.
_ROWS, _LISTED = 50, 300


def render(diff: Diff, metric: str = "relative_norm", *, report: Document | None = None) -> str:
    """Return the page as text; nothing in it asks the network for anything.

    Without scripts it shows the summary, the heatmap of one metric and the tables; with them the
    heatmap answers, and the table of tensors holds all of them.

    Parameters
    ----------
    diff
        What is reported.
    metric
        The metric shown first; where it has no value, the first that has.
    report
        `document(diff, words=True)`, where it is at hand.

    Raises
    ------
    UnknownName
        There is no metric of that name.
    """
    metric = shown_metric(diff, metric)
    choice = shown_metrics(diff)
    drawn = maps(diff, choice) if choice else ()
    report = document(diff, words=True) if report is None else report
    listed, report = bounded(diff, report, metric)
    style, script = source("page.css"), _script()
    return PAGES.get_template("page.html.jinja").render(
        report=report,
        headline=[(name, report.overall[name]) for name in _headline(report, metric)],
        metric=METRICS[metric],
        metrics=[METRICS[name] for name in choice],
        findings=marked(report.findings, drawn),
        figures=[(figure(one, metric), one) for one in drawn],
        cell_number=number,
        **_tensors(listed, metric),
        total=length(diff.columns),
        held=length(listed.columns),
        most_listed=_LISTED,
        provenance=list(_provenance(report.about)),
        style=Markup(style),
        style_hash=hash_of(style),
        script=Markup(script),
        script_hash=hash_of(script),
        island=Markup(island(listed, drawn, choice, metric)),
    )


def save(
    result: Diff | runs_page.Reported,
    path: Path,
    metric: str | None = None,
    *,
    report: Document | None = None,
) -> Path:
    """Write the page of a result whole, or not at all.

    Parameters
    ----------
    result, path
        What is reported, and where to.
    metric
        The metric shown first; by default the relative norm, of an importance the share of the
        change of loss or the saliency, of a similarity the cosine, of a probe the AUROC, of a drift
        the relative change.
    report
        As in `render`.

    Raises
    ------
    BadFile
        The file cannot be written.
    UnknownName
        There is no metric of that name.
    """
    if isinstance(result, Diff):
        text = render(result, metric or _own_metric(result), report=report)
    else:
        text = runs_page.render(result, metric)
    with written(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _own_metric(diff: Diff) -> str:
    """Return what a page opens at: of a diff that was measured on a text, what is worth most."""
    if not diff.about.get("importance"):
        return "relative_norm"
    from ftdiff.analyses.importance import Importance, drawn

    return drawn(Importance(diff))


def _headline(report: Document, metric: str) -> list[str]:
    wanted = (metric, "relative_norm", "rotation", "scale_share", "precision_floor", "rms_change")
    return [name for name in dict.fromkeys(wanted) if name in report.overall]


def _script() -> str:
    parts = "\n".join(source(name) for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _tensors(diff: Diff, metric: str) -> dict[str, Any]:
    """Return the columns of the table, and the rows that stand there without scripts."""
    metrics = table_metrics(diff, metric)
    texts = {name: words(diff.frame, name) for name in WORDS}
    said = [name for name in WORDS if name in ("tensor", "layer") or any(texts[name])]
    kinds = {"tensor": "name", "layer": "number"}
    order = np.arange(len(diff.frame))
    if metric in metrics:
        values = diff.frame[metric].to_numpy(np.float64, na_value=-np.inf)
        order = np.argsort(-values, kind="stable")
    top = order[:_ROWS].tolist()
    numbers = {
        name: diff.frame[name].iloc[top].to_numpy(np.float64, na_value=np.nan) for name in metrics
    }
    return {
        "columns": [(n, kinds.get(n, "word")) for n in said] + [(n, "number") for n in metrics],
        "rows": [
            [*(texts[name][at] for name in said), *(number(numbers[name][i]) for name in metrics)]
            for i, at in enumerate(top)
        ],
    }


def _provenance(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Say what the report was made from, and with what."""
    for name in ("base", "tuned", "kind", "created"):
        if about.get(name):
            yield name, one_line(about[name])
    for program, version in about.get("versions", {}).items():
        yield program, one_line(version)
    yield from _files(about.get("files", {}))
    for key, value in about.get("adapter", {}).items():
        yield f"adapter: {one_line(key)}", one_line(value)[:300]


def _files(sides: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[tuple[str, str]]:
    for side, held in sides.items():
        for file in held:
            size, sha = file.get("bytes"), file.get("header_sha256")
            yield f"{side} file", one_line(f"{file.get('name')}, {size} bytes, header sha256 {sha}")
