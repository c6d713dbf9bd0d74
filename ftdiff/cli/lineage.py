"""`ftdiff lineage`: which of these is a model nearest to, and was it made from that one?"""

from __future__ import annotations

import sys

import click

from ftdiff.cli import options, words


@click.command()
@click.argument("tuned", type=words.PLACE)
@click.argument("candidates", type=words.PLACE, metavar="CANDIDATE...", nargs=-1, required=True)
@options.WORKERS
@options.FORMAT
def lineage(
    tuned: str, candidates: tuple[str, ...], workers: options.Workers, format_: str
) -> None:
    """Say which CANDIDATE TUNED is nearest to, by what evidence.

    It is called the parent where the model's config.json names it: another fine-tune of the same
    base would look the same. A merge of several is called one, with its shares, and has no parent
    here: ftdiff merge-of says more.

    A sample of all of them is read first, the best in full. Of four models or more the tree is
    drawn; fine-tunes that moved alike bend it as a merge does. Exit 1 says that it is none of them,
    or that the numbers cannot tell.

    \b
    ftdiff lineage tuned/ base-a/ base-b/
    ftdiff lineage merged/ base/ model-a/ model-b/
    ftdiff lineage merged/ base/ model-a/ model-b/ --format json > tree.json
    ftdiff plot tree.json -o tree.svg
    """
    from ftdiff.analyses import lineage as analysis
    from ftdiff.reports.terminal import lineage as terminal

    with workers.lent() as (executor, progress):
        result = analysis.lineage(tuned, candidates, executor, progress)
    terminal.show_lineage(result, format_)
    sys.exit(result.exit_code)
