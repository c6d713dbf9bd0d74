"""`ftdiff findings`: what a saved result, or a matrix, shows."""

from __future__ import annotations

from pathlib import Path

import click

from ftdiff.cli import options, words

#: Written by `tests/bench/findings_power.py`.
_POWER = Path(__file__).parents[1] / "analyses" / "findings" / "power.txt"


def _seen() -> str:
    """Return what can be seen at all, for the end of the help."""
    return (
        "What can be seen, in percent of models: a structure in one of 7 components, told by its "
        "rule, where cells vary by 10 % and neighbouring layers by an autocorrelation of 0.4. Of "
        "noise, at most 5 % of models show any pattern.\n\n\b\n" + _POWER.read_text("utf-8")
    )


@click.command(epilog=_seen())
@click.argument("source", metavar="RESULT|MATRIX", type=click.Path(path_type=Path))
@click.option(
    "-m",
    "--metric",
    type=words.METRIC,
    help="Where to look for patterns; the relative norm, or without a base RMS.",
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
    from ftdiff.reports.terminal.tables import write_text

    data = load_for("findings", source)
    about = data.about if isinstance(data, Diff) else {}
    title = f"{about.get('base')} → {about.get('tuned')}" if about else str(source)
    said = spoken.findings(data, find(data, metric), title, format_, metric)
    (write_text if format_ == "table" else click.echo)(said)
