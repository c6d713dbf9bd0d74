"""`ftdiff trajectory`: how a change grew over the checkpoints of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff.cli import options, words
from ftdiff.cli import output as out
from ftdiff.errors import BadCall

if TYPE_CHECKING:
    from ftdiff.analyses.trajectory import Trajectory
    from ftdiff.analyses.trajectory.checkpoint_order import Order


@click.command()
@click.argument("base", type=words.PLACE)
@click.argument("checkpoints", type=words.PLACE, metavar="CKPT...", nargs=-1, required=True)
@click.option(
    "-m",
    "--metric",
    "metrics",
    multiple=True,
    type=words.METRIC,
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
@options.regrouped("component", "layer", "sublayer", "block", "stack", "tensor")
@options.folder(
    "Write trajectory.json, trajectory.csv, trajectory.png and .svg, and layers.png into "
    "this folder."
)
@options.WORKERS
@options.FORMAT
def trajectory(
    base: str,
    checkpoints: tuple[str, ...],
    metrics: tuple[str, ...],
    order: Order,
    earlier: Path | None,
    by: tuple[str, ...],
    folder: options.Folder,
    workers: options.Workers,
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
    from ftdiff.analyses import trajectory as analysis
    from ftdiff.cli import progress as steps
    from ftdiff.reports.terminal import trajectory as terminal

    with folder.kept():
        with workers.lent() as (executor, progress):
            result = analysis.trajectory(
                None if base == "-" else base,
                checkpoints,
                metrics,
                executor,
                progress,
                order=order,
                earlier=earlier,
            )
        if folder.output is not None:
            with steps.step("saving and drawing"):
                _write(result, folder.output)
    terminal.show_trajectory(result, format_, by)
    if out.lost_among(result.about["unreadable"]):
        sys.exit(2)


def _write(result: Trajectory, folder: Path) -> None:
    from ftdiff import plots

    files = [result.save(folder / "trajectory.json"), result.save(folder / "trajectory.csv")]
    number = "relative_norm" if result.about["base"] else "displacement"
    try:
        ax = plots.trajectory(result, number)
        files += [plots.save(ax, folder / f"trajectory.{kind}") for kind in ("png", "svg")]
        files.append(plots.save(plots.courses(result, number), folder / "layers.png"))
    except BadCall as error:  # nothing to draw: the numbers are written all the same
        out.say(f"no figure: {error}")
    out.wrote(files)
