"""The commands that judge a file against others and end in an exit code: verify and lineage."""

from __future__ import annotations

import sys

import click

from ftdiff import options


@click.command()
@click.argument("base")
@click.argument("adapter")
@click.argument("merged")
@click.option(
    "--quantised",
    is_flag=True,
    help="BASE is stored quantised, and the merge was made onto its dequantised values (QLoRA).",
)
@options.JOBS
@options.FORMAT
def verify(
    base: str, adapter: str, merged: str, quantised: bool, jobs: int | None, format_: str
) -> None:
    """Say whether MERGED is BASE with ADAPTER merged into it, and how exactly.

    Every tensor is judged: equal bit for bit or within rounding, skipped, merged twice or with
    another scale, changed though untargeted, a saved module left out. Exit 1 says that it is no
    such merge.

    \b
    ftdiff verify base/ my-lora/ merged/
    ftdiff verify base/ my-lora/ merged/ --format csv > verify.csv
    ftdiff verify base-nf4/ my-qlora/ merged/ --quantised
    """
    from ftdiff import executors, merging, progress
    from ftdiff.reports import terminal

    with executors.executor(threads=jobs) as executor, progress.bar() as bar:
        found = merging.verify(base, adapter, merged, executor, bar, quantised=quantised)
    terminal.show_verification(found, format_)
    sys.exit(found.exit_code)


@click.command()
@click.argument("tuned")
@click.argument("candidates", metavar="CANDIDATE...", nargs=-1, required=True)
@options.JOBS
@options.FORMAT
def lineage(tuned: str, candidates: tuple[str, ...], jobs: int | None, format_: str) -> None:
    """Say which CANDIDATE TUNED was made from, by what evidence.

    A sample of all of them is read first, the best in full. Exit 1 says that it is none of them,
    or that the numbers cannot tell.

    \b
    ftdiff lineage tuned/ base-a/ base-b/
    """
    from ftdiff import executors, parentage
    from ftdiff.reports import terminal

    with executors.executor(threads=jobs) as executor:
        found = parentage.lineage(tuned, candidates, executor)
    terminal.show_lineage(found, format_)
    sys.exit(found.exit_code)
