"""A page that stands alone of what is no diff: figures, findings, tables, provenance."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from markupsafe import Markup

from ftdiff.analyses.drift import Drift
from ftdiff.analyses.finding import Finding
from ftdiff.analyses.merges import MergeOf
from ftdiff.analyses.probing import Probe
from ftdiff.analyses.similarity import Similarity
from ftdiff.analyses.trajectory import Trajectory
from ftdiff.comparison.frame import records
from ftdiff.errors import BadCall, one_line
from ftdiff.reports.first_screen import FirstScreen
from ftdiff.reports.published import published
from ftdiff.reports.runs_screen import runs_screen
from ftdiff.reports.templates import PAGES, source

#: The results that have such a page.
Reported: TypeAlias = Similarity | Trajectory | Probe | Drift | MergeOf
#: The style sheets of every page.
STYLES = ("page.css", "screen.css", "charts.css", "print.css")
# Rows of a table: the saved file holds the rest.
_ROWS = 200


@dataclass(frozen=True)
class RunsDocument:
    """What the page says.

    Attributes
    ----------
    title
        What was measured.
    screen
        What is seen first.
    findings
        What is to be said, alarms first.
    figures
        By heading, an SVG; empty where there is nothing to draw.
    tables
        By heading, rows with the same columns.
    provenance
        Names and values: sources with their files, versions, when.
    """

    title: str
    screen: FirstScreen
    findings: tuple[Finding, ...]
    figures: Mapping[str, str]
    tables: Mapping[str, list[dict[str, Any]]]
    provenance: tuple[tuple[str, str], ...]


def document(result: Reported, number: str | None = None) -> RunsDocument:
    """Draw up the page of a similarity, a trajectory, a probe, a drift or a merge.

    Parameters
    ----------
    result
        What is reported.
    number
        What the figures show; by default the cosine, of a trajectory the relative norm (the
        length of the change without a base), of a probe the AUROC, of a drift the relative change;
        of a merge the parent whose components are drawn.

    Raises
    ------
    UnknownName
        There is no such number.
    """
    title, tables = _TABLES[type(result)](result)
    return RunsDocument(
        title,
        runs_screen(result, title),
        tuple(result.findings()),
        dict(_figures(result, number)),
        {heading: rows[:_ROWS] for heading, rows in tables.items() if rows},
        tuple(_provenance(result.about)),
    )


_Tables: TypeAlias = tuple[str, dict[str, list[dict[str, Any]]]]


def _of_similarity(result: Similarity) -> _Tables:
    base = result.about.get("base") or "no base"
    return f"How alike {len(result.names)} fine-tunes of {base} are", {
        "Nearest": records(result.neighbours),
        "A merge of all would keep": records(result.forecast()),
        "Pairs": records(result.by()),
    }


def _of_trajectory(result: Trajectory) -> _Tables:
    tables = {}
    if result.known.any():
        growth = records(result.growth("component"))
        tables = {"Path": records(result.by()), "Growth by component": growth}
    return f"{result.about.get('base') or 'no base'} → {len(result.names)} checkpoints", tables


def _of_probe(result: Probe) -> _Tables:
    best = result.frame.sort_values("auroc", ascending=False, kind="stable")
    apart = result.differences.sort_values("p", kind="stable")
    title = " → ".join(str(result.about[side]) for side in ("model", "tuned") if result.about[side])
    tables = {"Cells, the best first": records(best), "Tuned − model": records(apart)}
    return f"Where {result.about['data']['file']} is read in {title}", tables


def _of_drift(result: Drift) -> _Tables:
    whole = result.frame[result.frame["position"] == "all"]
    return f"How far {result.about['tuned']} lies apart from {result.about['base']}", {
        "Predictions, means over all tokens": [result.overall] if result.overall else [],
        "States and what is added to them": records(whole),
        "Matrices": records(result.tensors.sort_values("output_rank", kind="stable")),
        "Texts": records(result.outputs),
    }


def _of_merge(result: MergeOf) -> _Tables:
    components = result.components_differ
    rows = result.frame.sort_values("left", ascending=False, kind="stable")
    names = ["tensor", "status", "said", "weights", "way", "replay", "right", "left", "chi_sq"]
    return f"What {result.about['merged']} is of {len(result.about['parents'])} models", {
        "Coefficients by layer": records(result.curves(components=components)),
        "Tensors, what is least a merge first": records(rows[names]),
    }


#: The title and the tables of each result that has such a page.
_TABLES: Mapping[type, Callable[[Any], _Tables]] = {
    Similarity: _of_similarity,
    Trajectory: _of_trajectory,
    Probe: _of_probe,
    Drift: _of_drift,
    MergeOf: _of_merge,
}


def render(result: Reported, number: str | None = None, *, base_name: str | None = None) -> str:
    """Return the page as text; nothing in it asks the network, and it holds no script.

    Parameters
    ----------
    result, number
        As in `document`.
    base_name
        What the base is called, instead of its folder.
    """
    public: Any = replace(result, about=published(result.about, base_name))
    report = document(public, number)
    return PAGES.get_template("runs.html.jinja").render(
        report=report,
        screen=report.screen,
        figures=[
            (heading, Markup(_apart(svg, f"f{i}-")))
            for i, (heading, svg) in enumerate(report.figures.items())
        ],
        style=Markup("\n".join(map(source, STYLES))),
    )


def _apart(svg: str, prefix: str) -> str:
    """Put a prefix before the names within a figure, and number what bears one name: ids are once.

    >>> _apart('<g id="a"/><use href="#a"/><g id="a"/>', "f1-")
    '<g id="f1-a"/><use href="#f1-a"/><g id="f1-a-2"/>'
    """
    count: Counter[str] = Counter()

    def once(found: re.Match[str]) -> str:
        count[found[1]] += 1
        again = f"-{count[found[1]]}" if count[found[1]] > 1 else ""
        return f'id="{prefix}{found[1]}{again}"'

    return re.sub(r'\bid="([^"]*)"', once, re.sub(r'(url\(#|href="#)', rf"\1{prefix}", svg))


def _figures(result: Reported, number: str | None) -> Iterator[tuple[str, str]]:
    from ftdiff import plots

    for heading, draw in _drawings(result, number):
        try:
            yield heading, plots.svg(draw())
        except BadCall:  # nothing to draw: the tables are there all the same
            continue


def _drawings(result: Reported, number: str | None) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each figure's heading and what draws it."""
    from ftdiff import plots

    if isinstance(result, Similarity):
        shown = number or "cosine"
        yield f"{shown} of all pairs", lambda: plots.similarity(result, shown)
        yield f"{shown}, component by component", lambda: plots.similarities(result, shown)
    elif isinstance(result, Trajectory):
        shown = number or ("relative_norm" if result.about.get("base") else "displacement")
        yield f"{shown} over the run", lambda: plots.trajectory(result, shown)
        yield f"{shown} by layer", lambda: plots.courses(result, shown)
    elif isinstance(result, Probe):
        shown = number or "auroc"
        for site, stack in result.sites:
            place = partial(plots.probe, result, site=site, stack=stack)
            named = f"{site} of the {stack}" if stack else site
            yield f"{shown} of {named}", partial(place, shown)
            if len(result.differences):
                yield f"the same of {named}, fine-tuned", partial(place, shown, model="tuned")
                yield f"difference of {named}", partial(place, "difference")
    elif isinstance(result, MergeOf):
        yield "Coefficients over the layers", lambda: plots.merge_of(result, number)
    else:
        shown = number or "relative_change"
        yield f"{shown} after each layer", lambda: plots.drift(result, shown)
        yield f"{shown} of what attention and MLP add", lambda: plots.drift_parts(result, shown)


def _provenance(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for side, opened in about["sources"].items() if "sources" in about else ():
        for one in opened:
            yield side, one_line(one["source"])
            for file in one["files"]:
                said = f"{file['path']}, {file['bytes']} bytes, pages sha256 "
                yield f"{side} file", one_line(said + str(file.get("pages_sha256")))
    for program, version in about.get("versions", {}).items():
        yield program, one_line(version)
    if "created" in about:
        yield "created", one_line(about["created"])
