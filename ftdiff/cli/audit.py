"""`ftdiff audit`: hold a fine-tune against rules; exit 1 where it breaks them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff.cli import options, words
from ftdiff.cli import output as out

if TYPE_CHECKING:
    from ftdiff.comparison.result import Diff


@click.command()
@click.argument("base", type=words.PLACE, metavar="BASE|DIFF")
@click.argument("tuned", type=words.PLACE, required=False)
@click.option("--policy", type=click.Path(path_type=Path), help="What is expected, in TOML.")
@click.option(
    "--write-policy",
    "written",
    type=click.Path(path_type=Path),
    help="Write the policy that this fine-tune fulfils, to be reviewed, and stop.",
)
@options.WORKERS
@options.format_of("table", "json", "sarif", "junit", "github", "markdown")
def audit(
    base: str,
    tuned: str | None,
    policy: Path | None,
    written: Path | None,
    workers: options.Workers,
    format_: str,
) -> None:
    """Hold a fine-tune against the built-in rules and a policy; exit 1 where it breaks them.

    \b
    ftdiff audit base/ my-lora/
    ftdiff audit my-lora/
    ftdiff audit out/diff.json --policy release.toml --format sarif > audit.sarif
    ftdiff audit base/ my-lora/ --write-policy release.toml
    """
    from ftdiff.analyses import audit as analysis
    from ftdiff.reports import text

    held = analysis.read_policy(policy) if policy is not None else None  # before a weight is read
    diff = _diff(base, tuned, workers)
    if written is not None:
        click.echo(analysis.save_policy(diff, written))
        return
    result = analysis.audit(diff, held)
    click.echo(text.audit(result, format_))
    sys.exit(result.exit_code)


def _diff(base: str, tuned: str | None, workers: options.Workers) -> Diff:
    from ftdiff.analyses.saved import load_for
    from ftdiff.comparison import engine
    from ftdiff.comparison.result import Diff

    if tuned is None and (Path(base).is_file() or base.endswith((".json", ".csv", ".parquet"))):
        held = load_for("audit", base)
        assert isinstance(held, Diff)
        return held
    if tuned is None:
        base, tuned = options.base_of(base), base
    with workers.lent() as (executor, progress):
        return engine.compare(base, tuned, (), executor, progress, say=out.say)
