"""`ftdiff merge-of`: which merge of these is a model, and was anything trained on top?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ftdiff.cli import options
from ftdiff.cli import output as out


@click.command("merge-of")
@click.argument("merged")
@click.argument("parents", metavar="PARENT...", nargs=-1, required=True)
@click.option("--base", help="What the parents were tuned from; for task vectors, TIES and DARE.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help="Read so many entries of each tensor (10000 are plenty), not all.",
)
@options.output("Write merge.json and merge.csv into this folder.")
@options.WORKERS
@options.FORMAT
def merge_of(
    merged: str,
    parents: tuple[str, ...],
    base: str | None,
    sample: int | None,
    output: Path | None,
    workers: options.Workers,
    format_: str,
) -> None:
    """Say which merge of PARENTs MERGED is: with which coefficients, and how exactly.

    Least squares are weighted by the spacing of the stored numbers, whose rounding would bias
    them. Parents that are not in it are named.

    Exit 0: a merge, exactly. 3: a merge, then changed. 4: partly from these, a parent is missing.
    5: a sparse merge, as TIES or DARE make it. 1: none.

    \b
    ftdiff merge-of merged/ model-a/ model-b/ --base base/
    """
    from ftdiff.analyses import merges as analysis
    from ftdiff.reports.terminal import merge_of as terminal

    with workers.lent() as (executor, progress):
        result = analysis.merge_of(
            merged, parents, base, sample=sample, executor=executor, progress=progress
        )
    terminal.show_merge(result, format_)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        out.wrote([result.save(output / f"merge.{ending}") for ending in ("json", "csv")])
    sys.exit(result.exit_code)
