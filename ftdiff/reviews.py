"""The commands that say what a diff means: findings and audit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff import options

if TYPE_CHECKING:
    from ftdiff.result import Diff


@click.command()
@click.argument("source", metavar="DIFF|MATRIX", type=click.Path(path_type=Path))
@click.option(
    "-m", "--metric", help="Where to look for patterns; the relative norm, or without a base RMS."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
    help="What to print on standard output.",
)
def findings(source: Path, metric: str | None, format_: str) -> None:
    """Say what a saved diff, or a matrix (CSV or JSON: a row per layer), shows.

    A summary first, then each finding with the statistic behind it. No weight is read. What a
    matrix alone cannot control for is said.

    \b
    ftdiff findings out/diff.json
    ftdiff findings published.csv --format markdown
    """
    from ftdiff import sheets
    from ftdiff.reports import spoken
    from ftdiff.result import Diff
    from ftdiff.sentences import findings as find

    data = sheets.read(source)
    about = data.about if isinstance(data, Diff) else {}
    title = f"{about.get('base')} → {about.get('tuned')}" if about else str(source)
    click.echo(spoken.findings(data, find(data, metric), title, format_, metric))


@click.command()
@click.argument("base", metavar="BASE|DIFF")
@click.argument("tuned", required=False)
@click.option("--policy", type=click.Path(path_type=Path), help="What is expected, in TOML.")
@click.option(
    "--write-policy",
    "written",
    type=click.Path(path_type=Path),
    help="Write the policy that this fine-tune fulfils, to be reviewed, and stop.",
)
@options.JOBS
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "sarif", "junit", "github", "markdown"]),
    default="table",
    show_default=True,
    help="What to print on standard output.",
)
def audit(
    base: str,
    tuned: str | None,
    policy: Path | None,
    written: Path | None,
    jobs: int | None,
    format_: str,
) -> None:
    """Hold a fine-tune against the built-in rules and a policy; exit 1 where it breaks them.

    \b
    ftdiff audit base/ my-lora/
    ftdiff audit out/diff.json --policy release.toml --format sarif > audit.sarif
    ftdiff audit base/ my-lora/ --write-policy release.toml
    """
    from ftdiff import policy as room
    from ftdiff.reports import spoken

    held = room.read_policy(policy) if policy is not None else None  # before a weight is read
    diff = _diff(base, tuned, jobs)
    if written is not None:
        click.echo(room.save_policy(diff, written))
        return
    found = room.audit(diff, held)
    click.echo(spoken.audit(found, format_))
    sys.exit(found.exit_code)


def _diff(base: str, tuned: str | None, jobs: int | None) -> Diff:
    from ftdiff import engine, executors, progress
    from ftdiff.result import Diff

    if tuned is None:
        return Diff.load(base)
    with executors.executor(threads=jobs) as executor, progress.bar() as bar:
        return engine.compare(base, tuned, (), executor, bar)
