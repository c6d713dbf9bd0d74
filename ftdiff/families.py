"""The commands for many fine-tunes at once: similarity and trajectory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff import options
from ftdiff.errors import one_line

if TYPE_CHECKING:
    from ftdiff.journey import Trajectory
    from ftdiff.journey.order import Order
    from ftdiff.likeness import Similarity


@click.command()
@click.argument("tuned", metavar="TUNED TUNED...", nargs=-1, required=True)
@click.option("--base", help="Their base; adapters whose change does not depend on it need none.")
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
    "--by",
    multiple=True,
    type=click.Choice(["component", "layer", "block", "stack", "expert", "tensor"]),
    help="Regroup the pairs by this (repeat for several together).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write similarity.json, similarity.csv, matrix.csv, similarity.png and .svg, and "
    "components.png into this folder.",
)
@options.JOBS
@options.DASK
@options.FORMAT
def similarity(
    tuned: tuple[str, ...],
    base: str | None,
    measures: tuple[str, ...],
    by: tuple[str, ...],
    output: Path | None,
    jobs: int | None,
    dask: str | None,
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
    """
    from ftdiff import executors, likeness, progress
    from ftdiff.reports import many

    with executors.executor(threads=jobs, dask=dask) as executor, progress.bar() as bar:
        found = likeness.similarity(tuned, base, measures, executor, bar)
    if output is not None:
        _write(found, output)
    many.show_similarity(found, format_, by)
    _complain(found)


@click.command()
@click.argument("base")
@click.argument("checkpoints", metavar="CKPT...", nargs=-1, required=True)
@click.option(
    "-m",
    "--metric",
    "metrics",
    multiple=True,
    metavar="METRIC",
    help="A metric of single tensors for each checkpoint, such as effective_rank (repeat). Of "
    "adapters that one is always there.",
)
@click.option(
    "--order",
    type=click.Choice(["auto", "trainer", "names", "given"]),
    default="auto",
    show_default=True,
    help="By trainer_state.json, by the last number in each name, or as given; auto takes the "
    "first that all have.",
)
@click.option(
    "--append",
    "earlier",
    type=click.Path(path_type=Path, exists=True),
    help="A saved trajectory.json to add these checkpoints to; the earlier ones are not read.",
)
@click.option(
    "--by",
    multiple=True,
    type=click.Choice(["component", "layer", "block", "stack", "tensor"]),
    help="Regroup by this (repeat for several together).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write trajectory.json, trajectory.csv, trajectory.png and .svg, and layers.png into "
    "this folder.",
)
@options.JOBS
@options.DASK
@options.FORMAT
def trajectory(
    base: str,
    checkpoints: tuple[str, ...],
    metrics: tuple[str, ...],
    order: Order,
    earlier: Path | None,
    by: tuple[str, ...],
    output: Path | None,
    jobs: int | None,
    dask: str | None,
    format_: str,
) -> None:
    """Say how a change grew over the checkpoints of one run: lengths, steps, turns, growth.

    BASE is what training started from, or - for none. A run's folder stands for the checkpoint-N
    folders in it. Each checkpoint is read once.

    \b
    ftdiff trajectory base/ run/
    ftdiff trajectory base/ run/checkpoint-*/ -o out/
    ftdiff trajectory base/ run/checkpoint-900/ --append out/trajectory.json -o out/
    """
    from ftdiff import executors, journey, progress
    from ftdiff.reports import many

    with executors.executor(threads=jobs, dask=dask) as executor, progress.bar() as bar:
        found = journey.trajectory(
            None if base == "-" else base,
            checkpoints,
            metrics,
            executor,
            bar,
            order=order,
            earlier=earlier,
        )
    if output is not None:
        _write_course(found, output)
    many.show_trajectory(found, format_, by)
    _complain(found)


def _write_course(found: Trajectory, folder: Path) -> None:
    from ftdiff import plots
    from ftdiff.errors import BadCall

    files = [found.save(folder / "trajectory.json"), found.save(folder / "trajectory.csv")]
    number = "relative_norm" if found.about["base"] else "displacement"
    try:
        ax = plots.trajectory(found, number)
        files += [plots.save(ax, folder / f"trajectory.{kind}") for kind in ("png", "svg")]
        files.append(plots.save(plots.courses(found, number), folder / "layers.png"))
    except BadCall as error:  # nothing to draw: the numbers are written all the same
        click.echo(f"no figure: {error}", err=True)
    click.echo(f"wrote {', '.join(one_line(path) for path in files)}", err=True)


def _write(found: Similarity, folder: Path) -> None:
    from ftdiff import plots
    from ftdiff.errors import BadCall
    from ftdiff.frames import written

    files = [found.save(folder / "similarity.json"), found.save(folder / "similarity.csv")]
    with written(folder / "matrix.csv") as temporary:
        found.matrix.to_csv(temporary)
    files.append(folder / "matrix.csv")
    try:
        figure = plots.similarity(found)
        files += [plots.save(figure, folder / f"similarity.{kind}") for kind in ("png", "svg")]
        files.append(plots.save(plots.similarities(found), folder / "components.png"))
    except BadCall as error:  # nothing to draw: the numbers are written all the same
        click.echo(f"no figure: {error}", err=True)
    click.echo(f"wrote {', '.join(one_line(path) for path in files)}", err=True)


def _complain(found: Similarity | Trajectory) -> None:
    unreadable = found.about["unreadable"]
    if unreadable:
        name, tensors = next(iter(unreadable.items()))
        tensor, why = next(iter(tensors.items()))
        count = sum(map(len, unreadable.values()))
        more = f" (and {count - 1} more)" if count > 1 else ""
        line = one_line(f"{name}: {tensor}: {why}", 2000)
        click.echo(f"ftdiff: {line}{more}; the rest is kept", err=True)
        sys.exit(2)
