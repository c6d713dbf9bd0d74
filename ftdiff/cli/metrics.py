"""`ftdiff metrics`: what every metric is."""

from __future__ import annotations

import click


@click.command()
def metrics() -> None:
    """Say what every metric is: formula, range, what noise alone gives, source."""
    from ftdiff.reports.terminal import metrics as terminal

    terminal.show_metrics()
