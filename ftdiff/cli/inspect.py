"""`ftdiff inspect`: what is in a checkpoint or adapter, from headers alone."""

from __future__ import annotations

import click

from ftdiff.cli import words


@click.command()
@click.argument("path", type=words.PLACE)
@click.option(
    "--base",
    type=words.PLACE,
    help="The base: its names and shapes decide what an adapter leaves open.",
)
def inspect(path: str, base: str | None) -> None:
    """Say what is in a checkpoint or adapter, from headers alone.

    \b
    ftdiff inspect my-lora/
    ftdiff inspect model/model-00001-of-00002.safetensors
    """
    from ftdiff.analyses import inspection
    from ftdiff.reports.terminal import inspect as terminal

    terminal.show_contents(inspection.inspect(path, base))
