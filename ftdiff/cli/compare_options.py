"""What `ftdiff compare` is asked for, decided into three values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from ftdiff.cli import options, words


@dataclass(frozen=True)
class Measuring:
    """What is measured, and how files are read."""

    metrics: tuple[str, ...]
    device: str | None
    tuned_is_delta: bool
    hash: bool
    strict: bool

    @property
    def drawn(self) -> str:
        """The metric that is shown and drawn: the first that was asked for."""
        from ftdiff.metrics import resolve

        return resolve(self.metrics)[0].name if self.metrics else "relative_norm"

    @property
    def reading(self) -> dict[str, Any]:
        """Arguments of `comparison.engine.compare`: all but what is measured of which files."""
        given = asdict(self)
        del given["metrics"]
        return given


MEASURING = options.decided(
    Measuring,
    "measuring",
    click.option(
        "-m",
        "--metric",
        "metrics",
        multiple=True,
        type=words.METRIC_OR_GROUP,
        metavar="METRIC",
        help="Keep only these metrics or groups (repeat); the first is drawn. See `ftdiff "
        "metrics`.",
    ),
    click.option(
        "--device",
        metavar="DEVICE",
        help="Take exact spectra of dense changes on this device of torch's: cpu, cuda, cuda:1. "
        "All else, Lanczos too, stays on NumPy.",
    ),
    click.option("--tuned-is-delta", is_flag=True, help="TUNED holds differences, not weights."),
    click.option(
        "--hash", is_flag=True, help="Read each file whole for a SHA-256 beside its numbers."
    ),
    click.option(
        "--strict",
        is_flag=True,
        help="Refuse, with 2, where names, layers, rows or parts were paired by a guess.",
    ),
)


@dataclass(frozen=True)
class Facets:
    """Whether several fine-tunes are drawn side by side, and on how many scales."""

    facet: bool
    own_scale: bool


FACETS = options.decided(
    Facets,
    "facets",
    click.option(
        "--facet",
        is_flag=True,
        help="Several TUNED of one BASE: their maps side by side, one scale.",
    ),
    click.option(
        "--own-scale", is_flag=True, help="With --facet: each map has a scale of its own."
    ),
)


@dataclass(frozen=True)
class Wanted:
    """What the command gives: files and what is kept beside them, text, what coverage fails."""

    output: Path | None
    fresh: bool
    format_: str
    min_coverage: float


WANTED = options.decided(
    Wanted,
    "wanted",
    options.output(
        "Write diff.json, diff.csv, heatmap.png, heatmap.svg and report.html into this folder; "
        "with --facet facets.png, facets.svg and a diff-NAME.json for each."
    ),
    options.FRESH,
    options.FORMAT,
    click.option(
        "--min-coverage",
        type=click.FloatRange(0, 1),
        default=0.0,
        metavar="SHARE",
        help="Exit with 1 if a smaller share of the parameters was compared.",
    ),
)
