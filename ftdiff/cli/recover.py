"""`ftdiff recover`: the adapter that was merged into a model, as PEFT's folder."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ftdiff.cli import options


@click.command()
@click.argument("base")
@click.argument("merged")
@options.output("A new folder for the adapter.")
@options.WORKERS
@options.FORMAT
def recover(
    base: str, merged: str, output: Path | None, workers: options.Workers, format_: str
) -> None:
    """Recover the LoRA or DoRA that was merged into MERGED, and say how exactly.

    The rank is read from the change's spectrum against the rounding of the file, and agreed on by
    all matrices that moved. What is written is verified as `ftdiff verify` does. Exit 1 says that
    the change is not of low rank, or that rounding hides whether it is; nothing is written then.

    \b
    ftdiff recover base/ merged/
    ftdiff recover base/ merged/ -o adapter/
    """
    from ftdiff.analyses import recovery as analysis
    from ftdiff.cli import output as out
    from ftdiff.reports.terminal import recovery as terminal

    with workers.lent() as (executor, progress):
        result = analysis.recover(base, merged, output, executor, progress)
    if "output" in result.about:
        out.wrote([Path(result.about["output"])])
    terminal.show_recovery(result, format_)
    sys.exit(result.exit_code)
