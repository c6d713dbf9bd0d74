"""`ftdiff drift`: how far the states and predictions of a fine-tune lie apart from its base's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff.cli import options, words
from ftdiff.cli import output as out
from ftdiff.cli.model_options import READING, RUNNING, Reading, Running
from ftdiff.errors import BadCall

if TYPE_CHECKING:
    from ftdiff.analyses.drift import Drift


@click.command()
@click.argument("base", type=words.PLACE)
@click.argument("tuned", type=words.PLACE)
@READING
@RUNNING
@options.output(
    "Write drift.json, drift.csv, outputs.csv, tensors.csv, drift and drift_parts as .png and "
    ".svg, and report.html into this folder."
)
@options.FORMAT
def drift(
    base: str,
    tuned: str,
    reading: Reading,
    running: Running,
    output: Path | None,
    format_: str,
) -> None:
    """Say where the states and predictions of TUNED lie apart from those of BASE on a text.

    Layer by layer and position by position: relative change, cosine distance and CKA of hidden
    states, with and without massive ones; KL, first choices and loss; what the change of each
    matrix adds to its output. Beside every number stands its floor: the base against itself.

    \b
    ftdiff drift base/ tuned/ --text text.txt
    ftdiff drift base/ my-lora/ --text chats.jsonl -o out/
    """
    from ftdiff.analyses import drift as analysis
    from ftdiff.cli import progress as steps
    from ftdiff.reports.terminal import drift as terminal

    asked = {**reading.__dict__}
    text = asked.pop("text")
    settings = analysis.Settings(
        **asked, device=running.device, dtype=running.dtype, batch=running.batch
    )
    with steps.bars(of_bytes=False) as bars:
        result = analysis.drift(
            base, tuned, text=text, settings=settings, progress=bars, say=out.say
        )
    if output is not None:
        with steps.step("saving and drawing"):
            _write(result, output)
    terminal.show_drift(result, format_)


def _write(result: Drift, folder: Path) -> None:
    from ftdiff import plots
    from ftdiff.comparison import csv_text
    from ftdiff.comparison.storage import written
    from ftdiff.reports import html

    files = [result.save(folder / "drift.json"), result.save(folder / "drift.csv")]
    for name, frame in (("outputs", result.outputs), ("tensors", result.tensors)):
        with written(folder / f"{name}.csv") as temporary:
            csv_text.write(frame, temporary)
        files.append(folder / f"{name}.csv")
    for name, draw in (("drift", plots.drift), ("drift_parts", plots.drift_parts)):
        try:
            ax = draw(result)
            files += [plots.save(ax, folder / f"{name}.{kind}") for kind in ("png", "svg")]
        except BadCall as error:  # nothing to draw: the numbers are written all the same
            out.say(f"no figure: {error}")
    files.append(html.save(result, folder / "report.html"))
    out.wrote(files)
