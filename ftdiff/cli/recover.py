"""`ftdiff recover`: the adapter that was merged into a model, as PEFT's folder."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ftdiff.cli import options, words


@click.command()
@click.argument("base", type=words.PLACE)
@click.argument("merged", type=words.PLACE)
@options.output("A new folder for the adapter.")
@options.WORKERS
@options.FORMAT
def recover(
    base: str, merged: str, output: Path | None, workers: options.Workers, format_: str
) -> None:
    """Recover the LoRA or DoRA that was merged into MERGED, and say how exactly.

    The rank is read from the change's spectrum against the rounding of the file, and agreed on by
    all matrices that moved; it may differ by module. Factors are fitted to what each entry can have
    been before it was rounded. With -o they are written as a folder that PEFT loads: linear layers,
    embeddings and kernels as factors, norms and other modules that moved as modules_to_save; its
    README says how exact it is and what is not in it (A, B and alpha apart; biases of adapted
    modules; stacked experts). It is verified as `ftdiff verify` does, and appears whole or not at
    all; a folder that is there is refused. A base that is stored quantised is dequantised.

    Exit 1 says that the change is not of low rank, or that rounding hides whether it is (under a
    change of 3e-3 in bfloat16 only "rank at least" can be told); nothing is written then. Each
    matrix takes five times its float32 size in memory, times the workers (-j).

    \b
    ftdiff recover base/ merged/
    ftdiff recover base/ merged/ -o adapter/ -j 2
    ftdiff recover base/ merged/ --format json > recovery.json
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
