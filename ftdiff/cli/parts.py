"""`ftdiff parts`: rows, columns, attention heads and tokens of tensors."""

from __future__ import annotations

from pathlib import Path

import click

from ftdiff.cli import options, words
from ftdiff.cli import output as out
from ftdiff.errors import BadCall


@click.command()
@click.argument("base", type=words.PLACE)
@click.argument("tuned", type=words.PLACE)
@click.argument("tensor", required=False)
@click.option(
    "--by",
    type=click.Choice(["row", "column", "head", "token"]),
    help="Of one TENSOR: row (the default) or column. Of all: head (the default) or token.",
)
@click.option(
    "-m",
    "--metric",
    type=words.METRIC,
    default="relative_norm",
    show_default=True,
    help="The metric to rank by.",
)
@click.option("--top", type=click.IntRange(1), default=12, show_default=True, help="How many.")
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path, exists=True),
    help="A folder with tokenizer.json or vocab.json; that of TUNED or BASE by default.",
)
@options.WORKERS
@options.format_of(
    "table",
    "json",
    "csv",
    help="What to print on standard output: the top of a ranking, or all parts.",
)
def parts(
    base: str,
    tuned: str,
    tensor: str | None,
    by: str | None,
    metric: str,
    top: int,
    tokenizer: Path | None,
    workers: options.Workers,
    format_: str,
) -> None:
    """Measure parts of tensors: rows and columns of TENSOR, attention heads, tokens.

    TENSOR is a name in the base, or an end of it that no other has. Heads follow the base's
    config.json, in fused projections too. Rows that one vocabulary alone has are apart.

    \b
    ftdiff parts base/ tuned/                                the heads that moved most
    ftdiff parts base/ tuned/ --by token --top 30            the tokens that moved most
    ftdiff parts base/ my-lora/ layers.3.mlp.up_proj.weight --by column
    """
    from ftdiff.analyses import parts as rooms
    from ftdiff.metrics import METRICS
    from ftdiff.reports.terminal import parts as terminal

    by = by or ("row" if tensor else "head")
    if (tensor is None) == (by in ("row", "column")):
        wanted = "needs a TENSOR" if tensor is None else "takes all tensors, not one TENSOR"
        raise BadCall(f"--by {by} {wanted}")
    if METRICS[metric].needs != "sums":
        raise BadCall(f"{metric} does not come from sums, so parts of tensors have none")
    with workers.lent() as (executor, progress):
        if tensor is not None:
            measure = rooms.rows if by == "row" else rooms.columns
            diff = measure(base, tuned, tensor, executor, progress)
        elif by == "head":
            diff = rooms.heads(base, tuned, executor, progress)
        else:
            diff = rooms.tokens(base, tuned, tokenizer, executor, progress)
    terminal.show_parts(diff, by, metric, top, format_)
    out.stop_at_unreadable(diff)
