"""A page that stands alone: what is seen first, the maps, and below them all the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ftdiff.comparison.cut import noun
from ftdiff.comparison.frame import length
from ftdiff.comparison.result import Diff
from ftdiff.comparison.storage import written
from ftdiff.errors import BadCall, one_line
from ftdiff.metrics import METRICS
from ftdiff.numbers import number
from ftdiff.reports import runs_page
from ftdiff.reports.document import Document
from ftdiff.reports.page_data import WORDS, island, table_frame, table_metrics, words
from ftdiff.reports.page_marks import marked
from ftdiff.reports.page_parts import Content, content
from ftdiff.reports.scale import scale_of
from ftdiff.reports.svg import panes
from ftdiff.reports.templates import PAGES, hash_of, source

_SCRIPTS = (
    *("numbers.js", "colours.js", "spectrum.js", "heatmap.js", "panel.js", "profile.js"),
    *("keep.js", "tensors.js", "start.js"),
)
# What is there without scripts, and of each list: a page of names is no report.
_ROWS, _LISTED = 50, 300


def render(
    diff: Diff | Sequence[Diff],
    metric: str = "relative_norm",
    *,
    report: Document | None = None,
    one_hue: bool = False,
    base_name: str | None = None,
    tuned_names: Sequence[str] = (),
) -> str:
    """Return the page as text; nothing in it asks the network for anything.

    Without scripts it shows what is seen first, the maps of one metric and the tables; with them
    the maps answer, and the table of tensors holds all of them.

    Parameters
    ----------
    diff
        What is reported; several are seen side by side on one scale.
    metric
        The metric shown first; where it has no value, the first that has.
    report
        `document(diff, words=True)`, where it is at hand.
    one_hue
        Whether maps are at first in one hue, the darker the larger.
    base_name, tuned_names
        What the base, and each fine-tune, are called; by default as their folders or repositories.

    Raises
    ------
    UnknownName
        There is no metric of that name.
    BadCall
        There are no diffs or too many, or not as many names as diffs.
    """
    diffs = [diff] if isinstance(diff, Diff) else [*diff]
    whole = content(diffs, metric, report=report, base_name=base_name, tuned_names=tuned_names)
    drawn = whole.maps
    scale = scale_of([one.values[whole.metric] for one in drawn], whole.metric, one_hue)
    style, script = "\n".join(map(source, runs_page.STYLES)), _script()
    return PAGES.get_template("page.html.jinja").render(
        whole=whole,
        screen=whole.screen,
        title=_title(whole),
        several=len(whole.parts) > 1,
        side_by_side=whole.side_by_side,
        metric=METRICS[whole.metric],
        metrics=[METRICS[name] for name in whole.metrics],
        findings=[
            marked(part.report.findings, whole.maps, i) for i, part in enumerate(whole.parts)
        ],
        shown_findings=marked(whole.screen.findings, whole.maps),
        panes=panes(drawn, whole.metric, scale),
        maps=drawn,
        hatched=any(one.doubtful.any() for one in drawn),
        left_out=[*dict.fromkeys(name for one in drawn for name in one.left_out)],
        scale=scale,
        one_hue=one_hue,
        **_tensors(whole),
        most_listed=_LISTED,
        provenance=[list(_provenance(part.report.about)) for part in whole.parts],
        style=Markup(style),
        style_hash=hash_of(style),
        script=Markup(script),
        script_hash=hash_of(script),
        island=Markup(island(whole, one_hue)),
    )


def save(
    result: Diff | Sequence[Diff] | runs_page.Reported,
    path: Path,
    metric: str | None = None,
    *,
    report: Document | None = None,
    one_hue: bool = False,
    base_name: str | None = None,
    tuned_names: Sequence[str] = (),
) -> Path:
    """Write the page of a result whole, or not at all.

    Parameters
    ----------
    result, path
        What is reported, and where to; several diffs are seen side by side.
    metric
        The metric shown first; by default the relative norm, of an importance the share of the
        change of loss or the saliency, of a similarity the cosine, of a probe the AUROC, of a drift
        the relative change.
    report, one_hue, base_name, tuned_names
        As in `render`; what is no diff has a name of its base alone.

    Raises
    ------
    BadFile
        The file cannot be written.
    UnknownName
        There is no metric of that name.
    BadCall
        As in `render`.
    """
    if isinstance(result, Diff | Sequence):
        diffs = [result] if isinstance(result, Diff) else [*result]
        shown = metric or _own_metric(diffs)
        names = {"base_name": base_name, "tuned_names": tuned_names}
        text = render(diffs, shown, report=report, one_hue=one_hue, **names)  # type: ignore[arg-type]
    else:
        if tuned_names:
            raise BadCall("names of fine-tunes are for diffs; here they are those of their folders")
        text = runs_page.render(result, metric, base_name=base_name)
    with written(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _own_metric(diffs: Sequence[Diff]) -> str:
    """Return what a page opens at: of a diff that was measured on a text, what is worth most."""
    if len(diffs) != 1 or not diffs[0].about.get("importance"):
        return "relative_norm"
    from ftdiff.analyses.importance import Importance, drawn

    return drawn(Importance(diffs[0]))


def _title(whole: Content) -> str:
    if len(whole.parts) > 1:
        return " · ".join(part.name for part in whole.parts)
    return whole.parts[0].report.title


def _script() -> str:
    parts = "\n".join(source(name) for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _tensors(whole: Content) -> dict[str, Any]:
    """Return the columns of the table, and the rows that stand there without scripts."""
    metrics = table_metrics(whole.parts, whole.metric)
    frame = table_frame(whole.parts, whole.metric)
    texts = {name: words(frame, name) for name in WORDS}
    said = [name for name in WORDS if name in ("tensor", "layer") or any(texts[name])]
    kinds = {"tensor": "name", "layer": "number"}
    order = np.arange(len(frame))
    if whole.metric in metrics:
        values = frame[whole.metric].to_numpy(np.float64, na_value=-np.inf)
        order = np.argsort(-values, kind="stable")
    top = order[:_ROWS].tolist()
    numbers = {
        name: frame[name].iloc[top].to_numpy(np.float64, na_value=np.nan) for name in metrics
    }
    nouns = {noun(part.diff) for part in whole.parts}
    return {
        "noun": nouns.pop() if len(nouns) == 1 else "row",
        "columns": [(n, kinds.get(n, "word")) for n in said] + [(n, "number") for n in metrics],
        "rows": [
            [*(texts[name][at] for name in said), *(number(numbers[name][i]) for name in metrics)]
            for i, at in enumerate(top)
        ],
        "total": sum(length(part.diff.columns) for part in whole.parts),
        "held": len(frame),
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
