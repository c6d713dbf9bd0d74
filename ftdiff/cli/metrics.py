"""`ftdiff metrics`: what every metric is."""

from __future__ import annotations

import click

from ftdiff.cli import options, words
from ftdiff.errors import unknown


@click.command()
@click.argument("names", metavar="[NAME]...", type=words.METRIC_OR_GROUP, nargs=-1)
@click.option(
    "--group",
    "groups",
    multiple=True,
    type=words.GROUP,
    metavar="GROUP",
    help="Only the metrics of this group, as -m GROUP takes them (repeat).",
)
@options.format_of("table", "json")
def metrics(names: tuple[str, ...], groups: tuple[str, ...], format_: str) -> None:
    """Say what a metric is: formula, range, what noise alone gives, cost, source.

    Without a NAME, every metric; of several groups, those that come from sums first.

    \b
    ftdiff metrics
    ftdiff metrics lift precision_floor
    ftdiff metrics --group spectral
    ftdiff metrics --format json
    """
    from ftdiff.metrics import METRICS, resolve
    from ftdiff.metrics import groups as every
    from ftdiff.reports.terminal import metrics as terminal

    known = every()
    for group in groups:
        if group not in known:
            raise unknown("group of metrics", group, known)
    if names or groups:
        chosen = resolve([*names, *(m.name for group in groups for m in known[group])])
    else:
        chosen = sorted(METRICS.values(), key=lambda metric: metric.needs != "sums")
    terminal.show_metrics(chosen, format_)
