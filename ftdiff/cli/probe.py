"""`ftdiff probe`: in which layers, and at which tokens, a label can be read from a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff.cli import options, words
from ftdiff.cli import output as out
from ftdiff.cli.model_options import RUNNING, Running
from ftdiff.errors import BadCall

if TYPE_CHECKING:
    from ftdiff.analyses.probing import Probe
    from ftdiff.analyses.probing.folds import Protocol


@dataclass(frozen=True)
class Probing:
    """Where is probed, and how."""

    sites: tuple[str, ...]
    positions: tuple[str, ...]
    layers: tuple[int, ...]
    protocol: Protocol
    permutations: int
    max_tokens: int | None
    seed: int


PROBING = options.decided(
    Probing,
    "probing",
    click.option(
        "--site",
        "sites",
        multiple=True,
        default=("block",),
        show_default=True,
        type=click.Choice(["block", "mlp", "attn", "mlp.in"]),
        help="What of a layer (repeat): what it hands on; what its MLP or attention adds; what the "
        "MLP's last projection is given.",
    ),
    click.option(
        "--position",
        "positions",
        multiple=True,
        metavar="NAME",
        help="At which token (repeat): last_q, exact_answer_before_first, exact_answer_first, "
        "exact_answer_last, exact_answer_after_last, first_answer, second_answer, -8 … -1; of a "
        "named span SPAN_first and so on. All but spans by default.",
    ),
    click.option("--layer", "layers", multiple=True, type=int, help="Only this layer (repeat)."),
    click.option(
        "--protocol",
        default="cv",
        show_default=True,
        type=click.Choice(["cv", "llmsknow"]),
        help="Five stratified folds with groups kept together; or the published single split.",
    ),
    click.option(
        "--permutations", default=400, show_default=True, help="Of the labels, for the null."
    ),
    click.option("--max-tokens", type=int, help="Longer rows are left out."),
    click.option("--seed", default=0, show_default=True, help="Of folds and permutations."),
)


@click.command()
@click.argument("model", type=words.PLACE)
@click.argument("tuned", type=words.PLACE, required=False)
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="A .jsonl: text, or prompt and answer, and label; maybe exact_answer, spans, group.",
)
@PROBING
@RUNNING
@options.output(
    "Write probe.json, probe.csv, probe.png and .svg and report.html into this folder; with TUNED "
    "differences.csv, and difference.png and .svg."
)
@options.FORMAT
def probe(
    model: str,
    tuned: str | None,
    data: Path,
    probing: Probing,
    running: Running,
    output: Path | None,
    format_: str,
) -> None:
    """Say in which layers of MODEL, and at which tokens, a label can be read from its states.

    A logistic probe for each layer and position: its AUROC with an interval, p from permuted
    labels for each cell and over all cells, and which cells cannot be told from chance. With TUNED
    the same of the fine-tune, and the difference.

    \b
    ftdiff probe base/ --data answers.jsonl
    ftdiff probe base/ my-lora/ --data answers.jsonl --site mlp.in -o out/
    ftdiff probe base/ --data answers.jsonl --position exact_answer_last --position -1
    """
    from ftdiff.analyses import probing as analysis
    from ftdiff.cli import progress as steps
    from ftdiff.reports.terminal import probing as terminal

    settings = analysis.Settings(
        **probing.__dict__, device=running.device, dtype=running.dtype, batch=running.batch
    )
    with steps.bars(of_bytes=False) as bars:
        result = analysis.probe(
            model, tuned, data=data, settings=settings, progress=bars, say=out.say
        )
    if output is not None:
        with steps.step("saving and drawing"):
            _write(result, output)
    terminal.show_probe(result, format_)


def _write(result: Probe, folder: Path) -> None:
    from ftdiff import plots
    from ftdiff.comparison import csv_text
    from ftdiff.comparison.storage import written
    from ftdiff.reports import html

    files = [result.save(folder / "probe.json"), result.save(folder / "probe.csv")]
    tuned = len(result.differences) > 0
    if tuned:
        with written(folder / "differences.csv") as temporary:
            csv_text.write(result.differences, temporary)
        files.append(folder / "differences.csv")
    try:
        for site, stack in result.sites:
            more = "" if (site, stack) == result.sites[0] else f"_{site}"
            more += f"_{stack}" if stack else ""
            ax = plots.probe(result, site=site, stack=stack)
            files += [plots.save(ax, folder / f"probe{more}.{kind}") for kind in ("png", "svg")]
            if tuned:
                ax = plots.probe(result, "difference", site=site, stack=stack)
                files += [
                    plots.save(ax, folder / f"difference{more}.{kind}") for kind in ("png", "svg")
                ]
    except BadCall as error:  # nothing to draw: the numbers are written all the same
        out.say(f"no figure: {error}")
    files.append(html.save(result, folder / "report.html"))
    out.wrote(files)
