"""`ftdiff attest`: sign what a diff says, once it is recomputed."""

from __future__ import annotations

from pathlib import Path

import click

from ftdiff.cli import options, words
from ftdiff.cli import output as out
from ftdiff.errors import BadCall


@click.command()
@click.argument("diff", type=click.Path(path_type=Path), required=False)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="The private key that signs: PEM, or as ssh-keygen writes it.",
)
@options.output(
    "The file to which the claim is added as a line.",
    default=Path("claims.jsonl"),
    show_default=True,
)
@click.option(
    "--base", type=words.PLACE, help="Where the base is, if not where the diff was made of it."
)
@click.option(
    "--tuned",
    type=words.PLACE,
    help="Where the fine-tune is, if not where the diff was made of it.",
)
@click.option(
    "--new-key",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Make an Ed25519 key, KEY, readable by you alone, and its public half, KEY.pub.",
)
@options.WORKERS
def attest(
    diff: Path | None,
    key: Path | None,
    output: Path,
    base: str | None,
    tuned: str | None,
    new_key: Path | None,
    workers: options.Workers,
) -> None:
    """Sign what DIFF says of its base and its fine-tune, for others to recompute.

    The numbers are recomputed from the files first; what does not agree to the bit is not signed.
    Written is an in-toto statement in a DSSE envelope: digests of both models, as model signing
    takes them and in any shards, each tensor's exact sums, and findings as rules and numbers.
    Publish claims.jsonl and KEY.pub; keep KEY. Nothing is sent anywhere.

    \b
    ftdiff attest --new-key my.key
    ftdiff compare base/ my-lora/ -o out/
    ftdiff attest out/diff.json --key my.key -o claims.jsonl
    ftdiff verify-claim claims.jsonl base/ my-lora/ --key my.key.pub
    """
    from ftdiff.analyses import claims
    from ftdiff.analyses.claims import keys
    from ftdiff.analyses.saved import load_for
    from ftdiff.comparison.result import Diff

    if new_key is not None:
        out.wrote(keys.new_key(new_key))
        key = key or new_key
    if diff is None:
        if new_key is None:
            raise BadCall("attest takes a diff.json and a --key; or --new-key KEY to make one")
        return
    if key is None:
        raise BadCall("attest needs --key KEY; ftdiff attest --new-key KEY makes one")
    held = load_for("attest", diff)
    assert isinstance(held, Diff)
    with workers.lent() as (executor, progress):
        claim = claims.attest(
            held, key, executor, progress, base=base, tuned=tuned, ignored=[output.name]
        )
    if claim.append(output):
        out.wrote([output])
    else:
        out.say(f"{output}: this claim is in it already; nothing was added")
    for name, digest in claim.subjects.items():
        out.say(f"{name}: sha256 {digest['sha256']}")
