"""`ftdiff report`: a page of a saved result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ftdiff.cli import options, words
from ftdiff.cli.selecting import SELECTED, taken
from ftdiff.comparison.selection import Selection


@click.command()
@click.argument("result", metavar="RESULT", type=click.Path(path_type=Path))
@options.output(
    "The page, one file that needs no network.", default=Path("report.html"), show_default=True
)
@click.option(
    "-m",
    "--metric",
    type=words.METRIC,
    help="The metric to draw; the relative norm by default, of an importance and of a "
    "similarity its own.",
)
@SELECTED
def report(result: Path, output: Path, metric: str | None, selection: Selection) -> None:
    """Make a page of a saved diff: heatmaps that answer, every tensor, how it was made.

    Of a saved similarity, trajectory, probe, drift or merge: its figures, findings and tables. No
    weight is read.

    \b
    ftdiff report out/diff.json -o report.html
    ftdiff report out/diff.json --layers 0-7
    ftdiff report out/trajectory.json -o run.html
    """
    from ftdiff.analyses.saved import load_for
    from ftdiff.cli import progress
    from ftdiff.reports import html

    held: Any = load_for("report", result)
    wanted = taken(held, selection, metric, result)
    with progress.step("the page"):
        written = html.save(wanted, output, metric)
    click.echo(written)
