"""A page that stands alone: summary, heatmaps, tables, what did not match, provenance."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from ftdiff.comparison.result import Diff
from ftdiff.comparison.storage import written
from ftdiff.errors import one_line
from ftdiff.metrics import METRICS
from ftdiff.reports.document import Document, document
from ftdiff.reports.maps import maps, shown_metric, shown_metrics
from ftdiff.reports.page_data import WORDS, island, table_metrics, words
from ftdiff.reports.page_marks import marked
from ftdiff.reports.svg import figure, number


def _inert(value: Any) -> Any:
    """Show what would reorder or break text escaped: names come from files."""
    return one_line(value) if type(value) is str else value


_PAGE = jinja2.Environment(
    loader=jinja2.PackageLoader("ftdiff", "reports/page"),
    autoescape=True,  # names come from files: a tensor called <script> stays text
    finalize=_inert,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_SCRIPTS = ("numbers.js", "spectrum.js", "heatmap.js", "tensors.js", "start.js")
# What is there without scripts, and of each list: a page of names is no report.
_ROWS, _LISTED = 50, 300


def render(diff: Diff, metric: str = "relative_norm") -> str:
    """Return the page as text; nothing in it asks the network for anything.

    Without scripts it shows the summary, the heatmap of one metric and the tables; with them the
    heatmap answers, and the table of tensors holds all of them.

    Parameters
    ----------
    diff
        What is reported.
    metric
        The metric shown first; where it has no value, the first that has.

    Raises
    ------
    UnknownName
        There is no metric of that name.
    """
    metric = shown_metric(diff, metric)
    choice = shown_metrics(diff)
    drawn = maps(diff, choice) if choice else ()
    report = document(diff, words=True)
    style, script = _source("page.css"), _script()
    return _PAGE.get_template("page.html.jinja").render(
        report=report,
        headline=[(name, report.overall[name]) for name in _headline(report, metric)],
        metric=METRICS[metric],
        metrics=[METRICS[name] for name in choice],
        findings=marked(report.findings, drawn),
        figures=[(figure(one, metric), one) for one in drawn],
        cell_number=number,
        **_tensors(diff, metric),
        total=len(diff.frame),
        most_listed=_LISTED,
        provenance=list(_provenance(report.about)),
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
        island=Markup(island(diff, drawn, choice, metric)),
    )


def save(diff: Diff, path: Path, metric: str = "relative_norm") -> Path:
    """Write the page whole, or not at all.

    Raises
    ------
    BadFile
        The file cannot be written.
    UnknownName
        There is no metric of that name.
    """
    text = render(diff, metric)
    with written(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _headline(report: Document, metric: str) -> list[str]:
    wanted = (metric, "relative_norm", "rotation", "scale_share", "precision_floor", "rms_change")
    return [name for name in dict.fromkeys(wanted) if name in report.overall]


def _source(name: str) -> str:
    return (files("ftdiff") / "reports" / "page" / name).read_text(encoding="utf-8")


def _script() -> str:
    parts = "\n".join(_source(name) for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _hash(text: str) -> str:
    """Name a script as a browser does that runs no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


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
