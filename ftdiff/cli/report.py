"""`ftdiff report`: a page of a saved diff."""

from __future__ import annotations

from pathlib import Path

import click

from ftdiff.cli import options


@click.command()
@click.argument("diff", type=click.Path(path_type=Path))
@options.output(
    "The page, one file that needs no network.", default=Path("report.html"), show_default=True
)
@options.METRIC
def report(diff: Path, output: Path, metric: str) -> None:
    """Make a page of a saved diff: heatmaps that answer, every tensor, how it was made.

    No weight is read.

    \b
    ftdiff report out/diff.json -o report.html
    """
    from ftdiff.comparison.result import Diff
    from ftdiff.reports import html

    click.echo(html.save(Diff.load(diff), output, metric))
