"""`ftdiff lineage`: which of these was a model made from?"""

from __future__ import annotations

import sys

import click

from ftdiff.cli import options


@click.command()
@click.argument("tuned")
@click.argument("candidates", metavar="CANDIDATE...", nargs=-1, required=True)
@options.WORKERS
@options.FORMAT
def lineage(
    tuned: str, candidates: tuple[str, ...], workers: options.Workers, format_: str
) -> None:
    """Say which CANDIDATE TUNED was made from, by what evidence.

    A sample of all of them is read first, the best in full. Exit 1 says that it is none of them,
    or that the numbers cannot tell.

    \b
    ftdiff lineage tuned/ base-a/ base-b/
    """
    from ftdiff.analyses import lineage as analysis
    from ftdiff.reports.terminal import lineage as terminal

    with workers.lent() as (executor, progress):
        result = analysis.lineage(tuned, candidates, executor, progress)
    terminal.show_lineage(result, format_)
    sys.exit(result.exit_code)
