"""`ftdiff verify-claim`: does what was claimed of two models hold of these files?"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from ftdiff.cli import options, words


@dataclass(frozen=True)
class Sample:
    """How much is recomputed."""

    sample: int | None
    digests: int | None
    seed: int | None
    files: bool


SAMPLE = options.decided(
    Sample,
    "how_much",
    click.option(
        "--sample", type=click.IntRange(1), metavar="N", help="Recompute N tensors, not all."
    ),
    click.option(
        "--digests",
        type=click.IntRange(1),
        metavar="N",
        help="Recompute every number, and hash N tensors a side, not all: hashing takes longest.",
    ),
    click.option(
        "--seed", type=int, help="What draws the sample; another each time, which is printed."
    ),
    click.option(
        "--files", is_flag=True, help="The folders have to be the very same, file for file."
    ),
)


@click.command(name="verify-claim")
@click.argument("claims", type=click.Path(path_type=Path))
@click.argument("base", type=words.PLACE)
@click.argument("tuned", type=words.PLACE)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="PUB",
    help="The public key of whom you trust: PEM, or as ssh-keygen writes it.",
)
@SAMPLE
@options.WORKERS
@options.FORMAT
def verify_claim(
    claims: Path,
    base: str,
    tuned: str,
    key: Path | None,
    how_much: Sample,
    workers: options.Workers,
    format_: str,
) -> None:
    """Check CLAIMS, as `ftdiff attest` writes it, against BASE and TUNED.

    The signature, the digest of every tensor, and every number, recomputed: equal to the bit, with
    any number of threads, in any shards. Nothing is asked of another machine.

    Without --key nobody that you named has signed: the numbers are recomputed all the same, and the
    verdict is "recomputed", never "verified". Exit 0 for either; 1, with one line that names what
    does not hold; 2 for what cannot be read, as a claim of a later version.

    \b
    ftdiff verify-claim claims.jsonl base/ my-lora/ --key their.key.pub
    ftdiff verify-claim claims.jsonl base/ my-lora/ --key their.key.pub --sample 20
    ftdiff verify-claim claims.jsonl base/ my-lora/ --key their.key.pub --sample 20 --seed 7
    """
    from ftdiff.analyses import claims as package
    from ftdiff.reports.terminal.claims import show_check

    with workers.lent() as (executor, progress):
        found = package.verify_claim(
            claims, base, tuned, key, executor, progress,
            sample=how_much.sample, digests=how_much.digests, seed=how_much.seed,
            files=how_much.files,
        )  # fmt: skip
    show_check(found, format_)
    sys.exit(found.exit_code)
