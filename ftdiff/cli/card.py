"""`ftdiff card`: a section in a model card that says what changed."""

from __future__ import annotations

from pathlib import Path

import click

from ftdiff.cli import options
from ftdiff.errors import BadCall


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
    help="The base's name on the Hub, for the front matter where it names none.",
)
@options.METRIC
def card(
    diff: Path, readme: Path | None, format_: str | None, base_model: str | None, metric: str
) -> None:
    """Put what changed into a model card, README, as a marked section with one figure.

    The section is replaced at the next call; all else in the card stays as it is, byte for byte.
    The figure is written beside the card, as ftdiff/heatmap.png. Nothing is pushed.

    \b
    ftdiff card out/diff.json my-lora/README.md --base-model org/model
    ftdiff card out/diff.json --to latex > table.tex
    """
    from ftdiff.analyses.saved import load_for
    from ftdiff.comparison.result import Diff
    from ftdiff.reports import card as cards
    from ftdiff.reports.markup import WRITERS
    from ftdiff.reports.section import section

    if (readme is None) == (format_ is None):
        raise BadCall("card takes a README to write, or --to FORMAT to print; one of them")
    if format_ is not None and base_model is not None:
        raise BadCall("--base-model is for the front matter of a README, not for --to")
    loaded = load_for("card", diff)
    assert isinstance(loaded, Diff)
    if format_ is not None:
        click.echo(WRITERS[format_](section(loaded, metric), ""))
        return
    assert readme is not None
    done = cards.save(loaded, readme, metric, base_model=base_model)
    click.echo("\n".join(map(str, done.paths)) or f"{readme}: nothing differs")
    if not done.names_base:
        click.echo("the card names no base_model: --base-model ID adds it", err=True)
