"""`ftdiff merge-of`: which merge of these is a model, and was anything trained on top?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff.cli import options, words
from ftdiff.cli import output as out
from ftdiff.errors import BadCall

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ftdiff.analyses.merges import MergeOf
    from ftdiff.comparison.progress import Progress


@click.command("merge-of")
@click.argument("merged", type=words.PLACE)
@click.argument("parents", type=words.PLACE, metavar="PARENT...", nargs=-1, required=True)
@click.option(
    "--base",
    type=words.PLACE,
    help="What the parents were tuned from; for task vectors, TIES and DARE.",
)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help="Read so many entries of each tensor (10000 are plenty), not all.",
)
@options.output(
    "Write merge.json, merge.csv and the coefficients over the layers (merge.png, merge.svg) into "
    "this folder; of a merge that was changed also what is left of it (residual.json, a diff)."
)
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
    ftdiff merge-of org/merged org/a org/b --sample 10000
    ftdiff merge-of merged/ a/ b/ -o out/ && ftdiff report out/residual.json
    """
    from ftdiff.analyses import merges as analysis
    from ftdiff.reports.terminal import merge_of as terminal

    files: list[Path] = []
    with workers.lent() as (executor, progress):
        result = analysis.merge_of(
            merged, parents, base, sample=sample, executor=executor, progress=progress
        )
        if output is not None:
            files = _write(result, output, executor, progress)
    terminal.show_merge(result, format_)
    if output is not None:
        out.wrote(files)
    sys.exit(result.exit_code)


def _write(
    result: MergeOf, folder: Path, executor: Executor | None, progress: Progress | None
) -> list[Path]:
    from ftdiff import plots

    folder.mkdir(parents=True, exist_ok=True)
    files = [result.save(folder / f"merge.{ending}") for ending in ("json", "csv")]
    try:
        drawn = plots.merge_of(result)
        files += [plots.save(drawn, folder / f"merge.{kind}") for kind in ("png", "svg")]
    except BadCall as error:  # nothing to draw: the numbers are written all the same
        out.say(f"no figure: {error}")
    if result.verdict not in ("changed", "partly"):
        return files
    if result.about["sample"] is not None:
        out.say("no residual: it would read every entry, and a sample was asked for")
        return files
    left = result.residual(executor=executor, progress=progress)
    return [*files, left.save(folder / "residual.json")]
