"""`ftdiff compare`: measure what changed from a base to a fine-tune."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff.cli import options
from ftdiff.cli import output as out
from ftdiff.errors import BadCall

if TYPE_CHECKING:
    from ftdiff.comparison.result import Diff


@dataclass(frozen=True)
class Measuring:
    """What is measured, and how TUNED is read."""

    metrics: tuple[str, ...]
    device: str | None
    tuned_is_delta: bool

    @property
    def drawn(self) -> str:
        """The metric that is shown and drawn: the first that was asked for."""
        from ftdiff.metrics import resolve

        return resolve(self.metrics)[0].name if self.metrics else "relative_norm"


MEASURING = options.decided(
    Measuring,
    "measuring",
    click.option(
        "-m",
        "--metric",
        "metrics",
        multiple=True,
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
    """What the command gives: files, text, and the share below which it fails."""

    output: Path | None
    format_: str
    min_coverage: float


WANTED = options.decided(
    Wanted,
    "wanted",
    options.output(
        "Write diff.json, diff.csv, heatmap.png, heatmap.svg and report.html into this folder; "
        "with --facet facets.png, facets.svg and a diff-NAME.json for each."
    ),
    options.FORMAT,
    click.option(
        "--min-coverage",
        type=click.FloatRange(0, 1),
        default=0.0,
        metavar="SHARE",
        help="Exit with 1 if a smaller share of the parameters was compared.",
    ),
)


@click.command()
@click.argument("base")
@click.argument("tuned", metavar="TUNED [TUNED]...", nargs=-1, required=True)
@MEASURING
@options.WORKERS
@WANTED
@FACETS
def compare(
    base: str,
    tuned: tuple[str, ...],
    measuring: Measuring,
    workers: options.Workers,
    wanted: Wanted,
    facets: Facets,
) -> None:
    """Measure what changed from BASE to TUNED.

    BASE is a safetensors file or a model folder, or - for none: an adapter then gives absolute
    norms. TUNED is a checkpoint or an adapter; which one, ftdiff sees by itself.

    \b
    ftdiff compare base/ my-lora/
    ftdiff compare base/ tuned/ -o out/ --min-coverage 0.99
    ftdiff compare base/ tuned/ --format csv > diff.csv
    ftdiff compare base/ tuned/ -m spectral --device cuda
    ftdiff compare base/ run-a/ run-b/ run-c/ --facet -o out/
    """
    if facets.facet:
        from ftdiff.cli.compare_facets import facet

        sys.exit(facet(base, tuned, measuring, workers, wanted, shared=not facets.own_scale))
    if len(tuned) > 1 or facets.own_scale:
        what = "--own-scale" if facets.own_scale else "several TUNED"
        raise BadCall(f"{what}: only with --facet, which draws them side by side")
    from ftdiff.comparison import engine
    from ftdiff.reports.terminal import compare as terminal

    with workers.lent() as (executor, progress):
        diff = engine.compare(
            base,
            tuned[0],
            measuring.metrics,
            executor,
            progress,
            say=out.say,
            tuned_is_delta=measuring.tuned_is_delta,
            device=measuring.device,
        )
    if wanted.output is not None:  # before anything is printed: the reader of a pipe may leave
        _write(diff, wanted.output, measuring.drawn)
    terminal.show(diff, measuring.drawn, wanted.format_)
    out.stop_at_unreadable(diff)
    if out.too_little(diff, wanted.min_coverage):
        sys.exit(1)


def _write(diff: Diff, folder: Path, metric: str) -> None:
    from ftdiff import plots
    from ftdiff.reports import html

    written = [diff.save(folder / "diff.json"), diff.save(folder / "diff.csv")]
    try:
        axes = plots.heatmap(diff, metric)
        written += [plots.save(axes, folder / f"heatmap.{kind}") for kind in ("png", "svg")]
    except BadCall as error:  # no layers, or nothing measured: the numbers are written all the same
        out.say(f"no heatmap: {error}")
    written.append(html.save(diff, folder / "report.html", metric))
    out.wrote(written)
