"""`ftdiff report`: a page of saved results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ftdiff.cli import options, words
from ftdiff.cli.selecting import SELECTED, taken
from ftdiff.comparison.selection import Selection
from ftdiff.errors import BadCall


@click.command()
@click.argument(
    "results", metavar="RESULT…", nargs=-1, required=True, type=click.Path(path_type=Path)
)
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
@click.option("--one-hue", is_flag=True, help="Colour maps from pale to dark, whatever the metric.")
@click.option("--base-name", help="What the page calls the base, instead of its folder's name.")
@click.option(
    "--tuned-name",
    "tuned_names",
    multiple=True,
    help="What it calls the fine-tune; once for each result.",
)
@SELECTED
def report(
    results: tuple[Path, ...],
    output: Path,
    metric: str | None,
    one_hue: bool,
    base_name: str | None,
    tuned_names: tuple[str, ...],
    selection: Selection,
) -> None:
    """Make a page of a saved diff: a verdict, a map that answers, every tensor, how it was made.

    Of several diffs: their maps side by side on one scale. Of a saved similarity, trajectory,
    probe, drift or merge: its figures, findings and tables. No weight is read, and no path of this
    machine is named.

    \b
    ftdiff report out/diff.json -o report.html
    ftdiff report out/diff.json --layers 0-7
    ftdiff report a/diff.json b/diff.json -o both.html
    ftdiff report out/diff.json --base-name org/base --tuned-name org/tuned
    ftdiff report out/trajectory.json -o run.html
    """
    from ftdiff.analyses.saved import load_for
    from ftdiff.cli import progress
    from ftdiff.comparison.result import Diff
    from ftdiff.reports import html

    held: list[Any] = [taken(load_for("report", path), selection, metric, path) for path in results]
    for path, one in zip(results, held, strict=True):
        if len(held) > 1 and not isinstance(one, Diff):
            raise BadCall(f"{path}: only diffs stand side by side; make a page of its own")
    shown = held if len(held) > 1 else held[0]
    with progress.step("the page"):
        written = html.save(
            shown, output, metric, one_hue=one_hue, base_name=base_name, tuned_names=tuned_names
        )
    click.echo(written)
