"""Options that several commands have, each with one help."""

from __future__ import annotations

import click

FORMAT = click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="What to print on standard output.",
)
JOBS = click.option(
    "-j", "--jobs", type=int, metavar="N", help="Threads; one for each core by default."
)
DASK = click.option(
    "--dask", metavar="ADDRESS", help="Measure on the workers of this Dask scheduler."
)
