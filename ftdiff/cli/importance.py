"""`ftdiff importance`: what a base, and the change of a fine-tune, are worth on a text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff.cli import options, words
from ftdiff.cli import output as out
from ftdiff.cli.model_options import READING, RUNNING, Reading, Running
from ftdiff.errors import BadCall

if TYPE_CHECKING:
    from ftdiff.analyses.importance import Importance

_MEASURES = ("skip", "zero", "revert", "graft", "gate")


@dataclass(frozen=True)
class Asking:
    """What is measured."""

    nodes: int
    components: bool
    measures: tuple[str, ...]


ASKING = options.decided(
    Asking,
    "asking",
    click.option("--nodes", default=4, show_default=True, help="Of the integral behind path."),
    click.option("--components", is_flag=True, help="Measure components of layers too."),
    click.option(
        "-m",
        "--measure",
        "measures",
        multiple=True,
        type=click.Choice([*_MEASURES, "none"]),
        help="Of layers, only this (repeat); all by default.",
    ),
)


@click.command()
@click.argument("base", type=words.PLACE)
@click.argument("tuned", type=words.PLACE, required=False)
@READING
@ASKING
@RUNNING
@options.folder(
    "Write diff.json and diff.csv with the new columns, layers.csv, importance.png, "
    "importance.svg and report.html into this folder; with --components components.csv."
)
@options.FORMAT
def importance(
    base: str,
    tuned: str | None,
    reading: Reading,
    asking: Asking,
    running: Running,
    folder: options.Folder,
    format_: str,
) -> None:
    """Measure what BASE, and the change to TUNED, are worth on a text.

    Tensor by tensor: saliency, slope, and path, which splits the change of loss over tensors and
    adds up to it. Layer by layer: what the loss is without it, and with its change taken away
    (revert) or alone put in (graft), with intervals over texts where there are 6 or more.

    \b
    ftdiff importance base/ --text text.jsonl
    ftdiff importance base/ my-lora/ --text text.jsonl -o out/
    ftdiff importance base/ tuned/ --text chats.jsonl --components --device cuda
    """
    from ftdiff.analyses import importance as analysis
    from ftdiff.cli import progress as steps
    from ftdiff.reports.terminal import importance as terminal

    wanted = {"measures": tuple(one for one in asking.measures if one != "none")}
    chosen = wanted if asking.measures else {}
    with folder.kept():
        with steps.bars(of_bytes=False) as bars:
            result = analysis.importance(
                base,
                tuned,
                text=reading.text,
                settings=analysis.Settings(
                    reading.max_texts,
                    reading.max_tokens,
                    reading.seed,
                    asking.nodes,
                    asking.components,
                    device=running.device,
                    dtype=running.dtype,
                    batch=running.batch,
                    **chosen,
                ),
                progress=bars,
                say=out.say,
            )
        if folder.output is not None:
            with steps.step("saving and drawing"):
                _write(result, folder.output)
    terminal.show_importance(result, format_)


def _write(result: Importance, folder: Path) -> None:
    from ftdiff import plots
    from ftdiff.analyses.importance import drawn
    from ftdiff.comparison import csv_text
    from ftdiff.comparison.storage import written
    from ftdiff.reports import html

    diff, metric = result.diff, drawn(result)
    files = [diff.save(folder / "diff.json"), diff.save(folder / "diff.csv")]
    long = result.frame
    for name, kept in (
        ("layers", long["component"].isna()),
        ("components", ~long["component"].isna()),
    ):
        if kept.any():
            with written(folder / f"{name}.csv") as temporary:
                csv_text.write(long[kept], temporary)
            files.append(folder / f"{name}.csv")
    try:
        axes = plots.heatmap(diff, metric, style="importance")
        files += [plots.save(axes, folder / f"importance.{kind}") for kind in ("png", "svg")]
    except BadCall as error:  # no layers, or nothing moved: the numbers are written all the same
        out.say(f"no heatmap: {error}")
    files.append(html.save(diff, folder / "report.html", metric))
    out.wrote(files)
