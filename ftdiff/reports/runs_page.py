"""A page of many fine-tunes that stands alone: figures, what is to be said, tables, provenance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.similarity import Similarity
from ftdiff.analyses.trajectory import Trajectory
from ftdiff.comparison.frame import records
from ftdiff.errors import BadCall, one_line
from ftdiff.reports.templates import PAGES, source

# Rows of a table: the saved file holds the rest.
_ROWS = 200


@dataclass(frozen=True)
class RunsDocument:
    """What the page says.

    Attributes
    ----------
    title
        What was measured.
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
    findings: tuple[Finding, ...]
    figures: Mapping[str, str]
    tables: Mapping[str, list[dict[str, Any]]]
    provenance: tuple[tuple[str, str], ...]


def document(result: Similarity | Trajectory, number: str | None = None) -> RunsDocument:
    """Draw up the page of a similarity or a trajectory.

    Parameters
    ----------
    result
        What is reported.
    number
        What the figures show; by default the cosine, or of a trajectory the relative norm (the
        length of the change without a base).

    Raises
    ------
    UnknownName
        There is no such number.
    """
    base = result.about.get("base") or "no base"
    if isinstance(result, Similarity):
        title = f"How alike {len(result.names)} fine-tunes of {base} are"
        tables = {
            "Nearest": records(result.neighbours),
            "A merge of all would keep": records(result.forecast()),
            "Pairs": records(result.by()),
        }
    else:
        title = f"{base} → {len(result.names)} checkpoints"
        tables = {}
        if result.known.any():
            growth = records(result.growth("component"))
            tables = {"Path": records(result.by()), "Growth by component": growth}
    return RunsDocument(
        title,
        tuple(result.findings()),
        dict(_figures(result, number)),
        {heading: rows[:_ROWS] for heading, rows in tables.items() if rows},
        tuple(_provenance(result.about)),
    )


def render(result: Similarity | Trajectory, number: str | None = None) -> str:
    """Return the page as text; nothing in it asks the network, and it holds no script."""
    report = document(result, number)
    return PAGES.get_template("runs.html.jinja").render(
        report=report,
        figures={heading: Markup(svg) for heading, svg in report.figures.items()},
        style=Markup(source("page.css")),
    )


def _figures(result: Similarity | Trajectory, number: str | None) -> Iterator[tuple[str, str]]:
    from ftdiff import plots

    if isinstance(result, Similarity):
        shown = number or "cosine"
        drawings: dict[str, Callable[..., Any]] = {
            f"{shown} of all pairs": plots.similarity,
            f"{shown}, component by component": plots.similarities,
        }
    else:
        shown = number or ("relative_norm" if result.about.get("base") else "displacement")
        drawings = {f"{shown} over the run": plots.trajectory, f"{shown} by layer": plots.courses}
    for heading, draw in drawings.items():
        try:
            yield heading, plots.svg(draw(result, shown))
        except BadCall:  # nothing to draw: the tables are there all the same
            continue


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
