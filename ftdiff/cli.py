"""Each command is one call of the Python API, printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdiff import checks, details, families, options, pages, pictures, reviews, sidebyside
from ftdiff.errors import BadCall, one_line

if TYPE_CHECKING:
    from ftdiff.result import Diff


class Teaching(click.Group):
    """A group whose commands are listed in the order of a first visit."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which they are defined."""
        return list(self.commands)


@click.group(
    cls=Teaching,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 fine; 1 a check failed; 2 the call or the input was wrong.",
)
@click.version_option(package_name="ftdiff")
def ftdiff() -> None:
    """What changed in the weights, where, how much, and is it real?

    \b
    ftdiff compare BASE TUNED -o out/     the main job: summary, heatmap, report
    ftdiff inspect ADAPTER                what is in the files, nothing read
    ftdiff plot out/diff.json             redraw without reading a weight
    """


@ftdiff.command()
@click.argument("base")
@click.argument("tuned")
@click.argument("more", metavar="[TUNED]...", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write diff.json, diff.csv, heatmap.png, heatmap.svg and report.html into this folder; "
    "with --facet facets.png, facets.svg and a diff-NAME.json for each.",
)
@click.option(
    "-m",
    "--metric",
    "metrics",
    multiple=True,
    metavar="METRIC",
    help="Keep only these metrics or groups (repeat); the first is drawn. See `ftdiff metrics`.",
)
@options.JOBS
@options.DASK
@options.FORMAT
@click.option(
    "--device",
    metavar="DEVICE",
    help="Take exact spectra of dense changes on this device of torch's: cpu, cuda, cuda:1. "
    "All else, Lanczos too, stays on NumPy.",
)
@click.option("--tuned-is-delta", is_flag=True, help="TUNED holds differences, not weights.")
@click.option(
    "--min-coverage",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Exit with 1 if a smaller share of the parameters was compared.",
)
@click.option(
    "--facet", is_flag=True, help="Several TUNED of one BASE: their maps side by side, one scale."
)
@click.option("--own-scale", is_flag=True, help="With --facet: each map has a scale of its own.")
def compare(
    base: str,
    tuned: str,
    more: tuple[str, ...],
    output: Path | None,
    metrics: tuple[str, ...],
    jobs: int | None,
    dask: str | None,
    format_: str,
    device: str | None,
    tuned_is_delta: bool,
    min_coverage: float,
    facet: bool,
    own_scale: bool,
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
    if (more or own_scale) and not facet:
        what = "--own-scale" if own_scale else "several TUNED"
        raise BadCall(f"{what}: only with --facet, which draws them side by side")
    if facet:
        sidebyside.facet(
            base,
            (tuned, *more),
            metrics,
            output=output,
            own_scale=own_scale,
            jobs=jobs,
            dask=dask,
            format_=format_,
            min_coverage=min_coverage,
            say=_say,
            tuned_is_delta=tuned_is_delta,
            device=device,
        )
        return
    from ftdiff import engine, executors, progress
    from ftdiff.metrics import resolve
    from ftdiff.reports import terminal

    with executors.executor(threads=jobs, dask=dask) as executor, progress.bar() as bar:
        diff = engine.compare(
            base,
            tuned,
            metrics,
            executor,
            bar,
            say=_say,
            tuned_is_delta=tuned_is_delta,
            device=device,
        )
    shown = resolve(metrics)[0].name if metrics else "relative_norm"
    if output is not None:  # before anything is printed: the reader of a pipe may leave
        _write(diff, output, shown)
    terminal.show(diff, shown, format_)
    _verdict(diff, min_coverage)


@ftdiff.command()
@click.argument("path")
@click.option("--base", help="The base: its names and shapes decide what an adapter leaves open.")
def inspect(path: str, base: str | None) -> None:
    """Say what is in a checkpoint or adapter, from headers alone.

    \b
    ftdiff inspect my-lora/
    ftdiff inspect model/model-00001-of-00002.safetensors
    """
    from ftdiff.inspection import inspect as look
    from ftdiff.reports import terminal

    terminal.show_contents(look(path, base))


ftdiff.add_command(families.similarity)
ftdiff.add_command(families.trajectory)
ftdiff.add_command(checks.verify)
ftdiff.add_command(checks.lineage)
ftdiff.add_command(details.parts)
ftdiff.add_command(reviews.findings)
ftdiff.add_command(reviews.audit)


ftdiff.add_command(pictures.plot)
ftdiff.add_command(pages.report)
ftdiff.add_command(pages.card)


@ftdiff.command()
def metrics() -> None:
    """Say what every metric is: formula, range, what noise alone gives, source."""
    from ftdiff.reports import terminal

    terminal.show_metrics()


def _say(text: str) -> None:
    """Tell whoever waits; standard output is for what was asked for."""
    click.echo(text, err=True)


def _write(diff: Diff, folder: Path, metric: str) -> None:
    from ftdiff import plots
    from ftdiff.reports import html

    written = [diff.save(folder / "diff.json"), diff.save(folder / "diff.csv")]
    try:
        axes = plots.heatmap(diff, metric)
        written += [plots.save(axes, folder / f"heatmap.{kind}") for kind in ("png", "svg")]
    except BadCall as error:  # no layers, or nothing measured: the numbers are written all the same
        click.echo(f"no heatmap: {error}", err=True)
    written.append(html.save(diff, folder / "report.html", metric))
    click.echo(f"wrote {', '.join(one_line(path) for path in written)}", err=True)


def _verdict(diff: Diff, min_coverage: float) -> None:
    details.stop_at_unreadable(diff)
    if diff.about["coverage"] < min_coverage:
        click.echo(
            f"ftdiff: {diff.about['coverage']:.1%} of the parameters were compared, "
            f"{min_coverage:.1%} are asked for",
            err=True,
        )
        sys.exit(1)
