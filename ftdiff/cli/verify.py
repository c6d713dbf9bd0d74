"""`ftdiff verify`: is a merged file its base with this adapter merged into it?"""

from __future__ import annotations

import sys

import click

from ftdiff.cli import options, words


@click.command()
@click.argument("base", type=words.PLACE)
@click.argument("adapters", type=words.PLACE, metavar="ADAPTER...", nargs=-1, required=True)
@click.argument("merged", type=words.PLACE)
@click.option(
    "--quantised",
    is_flag=True,
    help="BASE is stored quantised, and the merge was made onto its dequantised values (QLoRA).",
)
@options.WORKERS
@options.FORMAT
def verify(
    base: str,
    adapters: tuple[str, ...],
    merged: str,
    quantised: bool,
    workers: options.Workers,
    format_: str,
) -> None:
    """Say whether MERGED is BASE with ADAPTER merged into it, and how exactly.

    Of several adapters, the strengths are found by least squares where they are not given, as in
    ADAPTER:0.8.

    Every tensor is judged: equal bit for bit or within rounding, skipped, merged twice or with
    another scale, changed though untargeted, a saved module left out. Exit 1 says that it is no
    such merge.

    \b
    ftdiff verify base/ my-lora/ merged/
    ftdiff verify base/ my-lora/ merged/ --format csv > verify.csv
    ftdiff verify base/ style:0.8 words:0.5 merged/
    ftdiff verify base-nf4/ my-qlora/ merged/ --quantised
    """
    from ftdiff.analyses import verification
    from ftdiff.analyses.verification import strengths
    from ftdiff.reports.terminal import verify as terminal

    pairs = [strengths.spelled(adapter) for adapter in adapters]
    asked = [path if strength is None else (path, strength) for path, strength in pairs]
    with workers.lent() as (executor, progress):
        result = verification.verify(base, asked, merged, executor, progress, quantised=quantised)
    terminal.show_verification(result, format_)
    sys.exit(result.exit_code)
