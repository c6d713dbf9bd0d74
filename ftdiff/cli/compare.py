"""`ftdiff compare`: measure what changed from a base to a fine-tune."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff.cli import options
from ftdiff.cli import output as out
from ftdiff.cli.compare_options import FACETS, MEASURING, WANTED, Facets, Measuring, Wanted
from ftdiff.cli.selecting import SELECTED
from ftdiff.comparison.selection import Selection
from ftdiff.errors import BadCall

if TYPE_CHECKING:
    from ftdiff.comparison.result import Diff
    from ftdiff.reports.document import Document


@click.command()
@options.sides("[BASE] TUNED [TUNED]...")
@MEASURING
@SELECTED
@options.WORKERS
@WANTED
@FACETS
def compare(
    base: str,
    tuned: tuple[str, ...],
    measuring: Measuring,
    selection: Selection,
    workers: options.Workers,
    wanted: Wanted,
    facets: Facets,
) -> None:
    """Measure what changed from BASE to TUNED.

    BASE is a model's file or folder, a repository of the hub or an address, or - for none: an
    adapter then gives absolute norms. Left out, it is the one that TUNED names. TUNED is a
    checkpoint or an adapter; which one, ftdiff sees by itself.

    \b
    ftdiff compare base/ my-lora/
    ftdiff compare my-lora/
    ftdiff compare Qwen/Qwen2.5-7B hf://org/my-model@v1
    ftdiff compare base/ tuned/ -o out/ --min-coverage 0.99
    ftdiff compare base/ tuned/ --format csv > diff.csv
    ftdiff compare base/ tuned/ -m spectral --device cuda
    ftdiff compare base/ tuned/ --layers 0-7 --include 'attn.*'
    ftdiff compare base/ tuned/ -m spectral --top 20
    ftdiff compare base/ run-a/ run-b/ run-c/ --facet -o out/
    """
    if facets.facet:
        from ftdiff.cli.compare_facets import facet

        shared = not facets.own_scale
        sys.exit(facet(base, tuned, measuring, workers, wanted, selection, shared=shared))
    if len(tuned) > 1 or facets.own_scale:
        what = "--own-scale" if facets.own_scale else "several TUNED"
        raise BadCall(f"{what}: only with --facet, which draws them side by side")
    from ftdiff.comparison import engine
    from ftdiff.reports.terminal import compare as terminal

    report = None
    with options.kept(wanted.output, fresh=wanted.fresh):  # until all is written: one run a folder
        with workers.lent() as (executor, progress):
            diff = engine.compare(
                base,
                tuned[0],
                measuring.metrics,
                executor,
                progress,
                say=out.say,
                selection=selection,
                **measuring.reading,
            )
        if wanted.output is not None:  # before anything is printed: a pipe's reader may leave
            report = _write(diff, wanted.output, measuring.drawn)
    terminal.show(diff, measuring.drawn, wanted.format_, report=report)
    out.stop_at_unreadable(diff)
    if out.too_little(diff, wanted.min_coverage):
        sys.exit(1)


def _write(diff: Diff, folder: Path, metric: str) -> Document:
    """Write the numbers, the pictures and the page; return what the page says."""
    from ftdiff import plots
    from ftdiff.cli import progress
    from ftdiff.comparison.shown_metric import shown_metric
    from ftdiff.reports import html
    from ftdiff.reports.document import document

    with progress.step("saving"):
        written = [diff.save(folder / "diff.json"), diff.save(folder / "diff.csv")]
    try:
        with progress.step("drawing"):
            drawn = plots.draw(diff, shown_metric(diff, metric))
            written += [plots.save(drawn, folder / f"heatmap.{kind}") for kind in ("png", "svg")]
    except BadCall as error:  # no layers, or nothing measured: the numbers are written all the same
        out.say(f"no heatmap: {error}")
    with progress.step("findings"):
        report = document(diff, words=True)
    with progress.step("the page"):
        written.append(html.save(diff, folder / "report.html", metric, report=report))
    out.wrote(written)
    return report
