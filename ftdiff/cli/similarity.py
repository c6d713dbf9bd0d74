"""`ftdiff similarity`: how alike are many fine-tunes of one base."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff.cli import options, words
from ftdiff.cli import output as out
from ftdiff.errors import BadCall

if TYPE_CHECKING:
    from ftdiff.analyses.similarity import Similarity


@click.command()
@click.argument("tuned", type=words.PLACE, metavar="TUNED TUNED...", nargs=-1, required=True)
@click.option(
    "--base",
    type=words.PLACE,
    help="Their base; adapters whose change does not depend on it need none.",
)
@click.option(
    "-m",
    "--measure",
    "measures",
    multiple=True,
    type=click.Choice(["masks", "signs", "subspaces", "all"]),
    help="Beside the cosine (repeat): which entries changed, of stored checkpoints; signs of the "
    "largest changes, as TIES sees them; overlap of the leading directions.",
)
@click.option(
    "--against",
    type=words.PLACE,
    metavar="ONE",
    help="Hold this fine-tune against each of the others, and no two of those.",
)
@click.option(
    "--nearest",
    type=click.IntRange(min=1),
    metavar="K",
    help="With --against: show the K most alike. Among many adapters they are looked for by "
    "sketches, which are kept, and then measured.",
)
@options.regrouped("component", "layer", "sublayer", "block", "stack", "expert", "tensor")
@options.folder(
    "Write similarity.json, similarity.csv, matrix.csv, similarity.png and .svg, and "
    "components.png into this folder."
)
@options.WORKERS
@options.FORMAT
def similarity(
    tuned: tuple[str, ...],
    base: str | None,
    measures: tuple[str, ...],
    against: str | None,
    nearest: int | None,
    by: tuple[str, ...],
    folder: options.Folder,
    workers: options.Workers,
    format_: str,
) -> None:
    """Say how alike many fine-tunes of one base are: adapters, checkpoints, mixed as they come.

    The cosine is that of the changes ΔW, beside what chance would give; duplicates, groups and
    what merging all of them would keep are said.

    \b
    ftdiff similarity adapters/*
    ftdiff similarity --base base/ my-lora/ my-full-tune/ -m signs
    ftdiff similarity --base base/ runs/*/ --by component --format csv > pairs.csv
    ftdiff similarity --base base/ runs/*/ -o out/
    ftdiff similarity --against mine/ adapters/* --nearest 10
    """
    from ftdiff.analyses import similarity as analysis
    from ftdiff.cli import progress as steps
    from ftdiff.reports.terminal import similarity as terminal

    if against is not None:
        if measures or by or folder.output is not None:
            raise BadCall("--against gives cosines of pairs; it takes no -m, --by or -o")
        _hold_against(against, tuned, base, nearest, workers, format_)
        return
    if nearest is not None:
        raise BadCall("--nearest is of one fine-tune: give it with --against")
    with folder.kept():
        with workers.lent() as (executor, progress):
            result = analysis.similarity(tuned, base, measures, executor, progress, say=out.say)
        if folder.output is not None:
            with steps.step("saving and drawing"):
                _write(result, folder.output)
    terminal.show_similarity(result, format_, by)
    if out.lost_among(result.about["unreadable"]):
        sys.exit(2)


def _hold_against(
    one: str,
    tuned: tuple[str, ...],
    base: str | None,
    nearest: int | None,
    workers: options.Workers,
    format_: str,
) -> None:
    from ftdiff.analyses import similarity as analysis
    from ftdiff.reports.terminal import similarity as terminal

    others = [path for path in tuned if Path(path).resolve() != Path(one).resolve()]
    with workers.lent() as (executor, progress):
        result = analysis.held_against(
            one, others, base, executor, progress, nearest=nearest, say=out.say
        )
    terminal.show_against(result, nearest, format_)
    if out.lost_among(result.about["unreadable"]):
        sys.exit(2)


def _write(result: Similarity, folder: Path) -> None:
    from ftdiff import plots
    from ftdiff.comparison import csv_text
    from ftdiff.comparison.storage import written

    files = [result.save(folder / "similarity.json"), result.save(folder / "similarity.csv")]
    with written(folder / "matrix.csv") as temporary:
        csv_text.write(result.matrix, temporary, index=True)
    files.append(folder / "matrix.csv")
    try:
        figure = plots.similarity(result)
        files += [plots.save(figure, folder / f"similarity.{kind}") for kind in ("png", "svg")]
        files.append(plots.save(plots.similarities(result), folder / "components.png"))
    except BadCall as error:  # nothing to draw: the numbers are written all the same
        out.say(f"no figure: {error}")
    out.wrote(files)
