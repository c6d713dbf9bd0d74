"""`ftdiff findings`: what a saved result, or a matrix, shows."""

from __future__ import annotations

from pathlib import Path

import click

from ftdiff.cli import options


@click.command()
@click.argument("source", metavar="RESULT|MATRIX", type=click.Path(path_type=Path))
@click.option(
    "-m", "--metric", help="Where to look for patterns; the relative norm, or without a base RMS."
)
@options.format_of("table", "json", "markdown")
def findings(source: Path, metric: str | None, format_: str) -> None:
    """Say what a saved result, or a matrix (CSV or JSON: a row per layer), shows.

    A summary first, then each finding with the statistic behind it. No weight is read. What a
    matrix alone cannot control for is said.

    \b
    ftdiff findings out/diff.json
    ftdiff findings out/trajectory.json
    ftdiff findings published.csv --format markdown
    """
    from ftdiff.analyses.findings import findings as find
    from ftdiff.analyses.saved import load_for
    from ftdiff.comparison.result import Diff
    from ftdiff.reports import text as spoken

    data = load_for("findings", source)
    about = data.about if isinstance(data, Diff) else {}
    title = f"{about.get('base')} → {about.get('tuned')}" if about else str(source)
    click.echo(spoken.findings(data, find(data, metric), title, format_, metric))
