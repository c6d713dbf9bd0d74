"""`ftdiff card`: a section in a model card that says what changed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click
from click.core import ParameterSource

from ftdiff.cli import options
from ftdiff.cli import output as out
from ftdiff.cli.selecting import SELECTED, taken
from ftdiff.comparison.selection import Selection
from ftdiff.errors import BadCall


@dataclass(frozen=True)
class Checked:
    """A card whose numbers are held to a diff or a claim, and who has to have signed that."""

    check: Path | None
    key: Path | None


CHECKED = options.decided(
    Checked,
    "checked",
    click.option(
        "--check",
        type=click.Path(path_type=Path),
        metavar="CARD",
        help="Write nothing: hold the numbers of this card's section to the diff, or to a claim.",
    ),
    click.option(
        "--key",
        type=click.Path(path_type=Path),
        metavar="PUB",
        help="With --check and a claim: the public key of whoever has to have signed it.",
    ),
)


@click.command()
@click.argument("diff", type=click.Path(path_type=Path))
@click.argument("readme", type=click.Path(path_type=Path), required=False)
@click.option(
    "--to",
    "format_",
    type=click.Choice(["markdown", "html", "json", "latex"]),
    help="Print the section in this format instead of writing a card.",
)
@click.option(
    "--base-model",
    metavar="ID",
    help="The base's name on the Hub: the front matter then names it, instead of what is there.",
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    help="Components in the table, those with the largest share of the change; 14 by default. "
    "What is left out is said.",
)
@CHECKED
@options.METRIC
@SELECTED
@click.pass_context
def card(
    ctx: click.Context,
    diff: Path,
    readme: Path | None,
    format_: str | None,
    base_model: str | None,
    rows: int | None,
    checked: Checked,
    metric: str,
    selection: Selection,
) -> None:
    """Put what changed into a model card, README, as a marked section with one figure.

    The section is replaced at the next call; all else in the card stays as it is, byte for byte.
    The figure is written beside the card, as ftdiff/heatmap.png. Nothing is pushed.

    With --check, DIFF may be a claims.jsonl, too. Exit 1 names a number of the card that is another
    there; no weight is read, `ftdiff verify-claim` does that.

    \b
    ftdiff card out/diff.json my-lora/README.md --base-model org/model
    ftdiff card out/diff.json --to latex > table.tex
    ftdiff card --check my-lora/README.md claims.jsonl --key their.key.pub
    """
    if checked.check is not None:
        if selection or any(one is not None for one in (readme, format_, base_model, rows)):
            raise BadCall(
                "card --check CARD takes a diff.json or a claims.jsonl, and writes nothing"
            )
        given = ctx.get_parameter_source("metric") is not ParameterSource.DEFAULT
        sys.exit(_checked(checked.check, diff, checked.key, metric if given else None))
    if checked.key is not None:
        raise BadCall("--key is for --check and a claims.jsonl")
    from ftdiff.analyses.saved import load_for
    from ftdiff.comparison.result import Diff
    from ftdiff.reports import card as cards
    from ftdiff.reports.markup import WRITERS
    from ftdiff.reports.section import ROWS, section

    if (readme is None) == (format_ is None):
        raise BadCall("card takes a README to write, or --to FORMAT to print; one of them")
    if format_ is not None and base_model is not None:
        raise BadCall("--base-model is for the front matter of a README, not for --to")
    loaded = taken(load_for("card", diff), selection, metric, diff)
    assert isinstance(loaded, Diff)
    if format_ is not None:
        click.echo(WRITERS[format_](section(loaded, metric, rows=rows or ROWS), ""))
        return
    assert readme is not None
    done = cards.save(loaded, readme, metric, base_model=base_model, rows=rows or ROWS)
    click.echo("\n".join(map(str, done.paths)) or f"{readme}: nothing differs")
    for told in (done.said, done.cut and f"{done.cut} --rows N shows more."):
        if told:
            out.say(f"{readme}: {told}")
    if not done.names_base:
        out.say("the card names no base_model: --base-model ID adds it")


def _checked(card: Path, source: Path, key: Path | None, metric: str | None) -> int:
    """Hold a card to a diff or to the claims of a file, and say in one line whether it agrees."""
    from ftdiff.analyses import claims
    from ftdiff.analyses.saved import load_for
    from ftdiff.comparison.result import Diff
    from ftdiff.comparison.saved_kind import kind_of
    from ftdiff.reports.card_check import differing

    if kind_of(source):
        if key is not None:
            raise BadCall(
                f"{source}: a saved diff, which nobody signs; --key is for a claims.jsonl"
            )
        loaded = load_for("card", source)
        assert isinstance(loaded, Diff)
        diffs, by = [loaded], ""
    else:
        try:
            diffs = claims.claimed(source, key)
        except claims.Refuted as error:
            click.echo(f"{card}: {error}")
            return 1
        by = f", signed with {key}" if key else ", unsigned by anyone you named (--key PUB)"
    faults = [differing(card, one, metric) for one in diffs]
    if all(faults):
        click.echo(f"{card}: {faults[-1]} ({source})")
        return 1
    click.echo(f"{card}: every number is that of {source}{by}")
    return 0
