"""The command that looks inside tensors: rows, columns, attention heads, tokens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff import options
from ftdiff.errors import BadCall, one_line

if TYPE_CHECKING:
    from ftdiff.result import Diff


@click.command()
@click.argument("base")
@click.argument("tuned")
@click.argument("tensor", required=False)
@click.option(
    "--by",
    type=click.Choice(["row", "column", "head", "token"]),
    help="Of one TENSOR: row (the default) or column. Of all: head (the default) or token.",
)
@click.option(
    "-m", "--metric", default="relative_norm", show_default=True, help="The metric to rank by."
)
@click.option("--top", type=click.IntRange(1), default=12, show_default=True, help="How many.")
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path, exists=True),
    help="A folder with tokenizer.json or vocab.json; that of TUNED or BASE by default.",
)
@options.JOBS
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
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
    jobs: int | None,
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
    from ftdiff import executors, progress
    from ftdiff import parts as rooms
    from ftdiff.metrics import METRICS
    from ftdiff.reports import terminal

    by = by or ("row" if tensor else "head")
    if (tensor is None) == (by in ("row", "column")):
        wanted = "needs a TENSOR" if tensor is None else "takes all tensors, not one TENSOR"
        raise BadCall(f"--by {by} {wanted}")
    if METRICS[metric].needs != "sums":
        raise BadCall(f"{metric} does not come from sums, so parts of tensors have none")
    with executors.executor(threads=jobs) as executor, progress.bar() as bar:
        if tensor is not None:
            diff = (rooms.rows if by == "row" else rooms.columns)(base, tuned, tensor)
        elif by == "head":
            diff = rooms.heads(base, tuned, executor, bar)
        else:
            diff = rooms.tokens(base, tuned, tokenizer, executor, bar)
    terminal.show_parts(diff, by, metric, top, format_)
    stop_at_unreadable(diff)


def stop_at_unreadable(diff: Diff) -> None:
    """Exit with 2 where a tensor could not be read, once what could be is printed."""
    unreadable = diff.about["unreadable"]
    if unreadable:
        more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
        said = one_line(next(iter(unreadable.values())), 2000)
        click.echo(f"ftdiff: {said}{more}; the rest is kept", err=True)
        sys.exit(2)
