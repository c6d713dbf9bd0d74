"""`ftdiff plot`: draw a saved result, or a matrix, as any kind of figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ftdiff.cli import words
from ftdiff.cli.selecting import SELECTED, taken
from ftdiff.comparison.selection import Selection

_MAPS = ("modules", "importance", "tokens")


@click.command()
@click.argument("source", metavar="RESULT|MATRIX", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="PNG, SVG or PDF, by the ending; by default heatmap.png, or the style's name.",
)
@click.option(
    "-m",
    "--metric",
    type=words.METRIC,
    metavar="METRIC",
    help="The metric to draw (see `ftdiff metrics`); by default the figure's own, for maps "
    "relative_norm. Of a matrix, any text.",
)
@click.option(
    "--style",
    type=words.STYLE,
    metavar="STYLE",
    help="Maps: modules (the default), importance, tokens (of a matrix). Charts: profile (lines "
    "over layers), scatter (rescaling against rotation), spectrum (after compare -m spectral), "
    "energy (shares and lift). Of `ftdiff parts --format json`: heads, strips (rows, columns, "
    "tokens). Of a similarity: similarity, similarities; of a trajectory: trajectory, courses; "
    "of a probe: probe; of a drift: drift, drift_parts; of a lineage of four models: lineage; of a "
    "merge: merge_of (-m names a parent).",
)
@click.option(
    "--normalise",
    metavar="HOW",
    help="modules: none, or divide by the mean of each component or row, so that one does not wash "
    "out the rest. importance: max, column, rank, none.",
)
@click.option("--center", type=float, help="The number that is white, between the colours.")
@click.option("--vmin", type=float, help="The least number of the colours.")
@click.option(
    "--vmax", type=float, help="The largest; the same limits in several figures share a scale."
)
@click.option(
    "--robust", is_flag=True, default=None, help="Limits at the 2nd and 98th percentile, arrows."
)
@click.option("--stack", metavar="NAME", help="Which tower of a model with several.")
@click.option(
    "--others/--no-others",
    default=None,
    help="Whether what is no projection (norms, routers, …) is drawn too.",
)
@click.option(
    "--outline", is_flag=True, help="modules: frame the cells that `ftdiff findings` speaks of."
)
@click.option("--trend", is_flag=True, help="profile: draw the depth trends that are findings.")
@click.option(
    "--by", type=words.BY, metavar="COLUMN", help="profile, energy: component, block, layer, …."
)
@click.option("--log", is_flag=True, default=None, help="profile: heights as logarithms.")
@click.option(
    "--component",
    type=words.COMPONENT,
    metavar="NAME",
    help="spectrum: all its layers. heads: only this, attn.q.",
)
@click.option(
    "--tensor",
    "tensors",
    multiple=True,
    type=words.TENSOR,
    metavar="NAME",
    help="spectrum: this tensor, or the one whose name ends so (repeat).",
)
@click.option(
    "--difference", is_flag=True, default=None, help="tokens: the numbers are differences, about 0."
)
@SELECTED
@click.option("--title", help="Text above.")
@click.option("--bare", is_flag=True, default=None, help="Drop every label.")
def plot(
    source: Path,
    output: Path | None,
    metric: str | None,
    style: str | None,
    outline: bool,
    trend: bool,
    tensors: tuple[str, ...],
    selection: Selection,
    **given: Any,
) -> None:
    """Draw a saved result, or a matrix (CSV or JSON: a row per layer).

    No weight is read.

    \b
    ftdiff plot out/diff.json -m rotation -o rotation.svg
    ftdiff plot out/diff.json --outline --title "my fine-tune"
    ftdiff plot out/diff.json --style profile --by block
    ftdiff plot out/diff.json --layers 0-7 --exclude 'norm.*'
    ftdiff plot published.csv --style importance
    ftdiff plot out/similarity.json -o similarity.svg
    """
    from ftdiff import plots
    from ftdiff.analyses.findings import findings
    from ftdiff.analyses.saved import load_for
    from ftdiff.cli import progress

    held: Any = load_for("plot", source, repeated=style == "tokens")
    data = taken(held, selection, metric, source)
    options = {name: value for name, value in given.items() if value is not None}
    if tensors:
        options["tensors"] = tensors
    for name, asked in (("outline", outline), ("trend", trend)):
        if asked:
            options[name] = findings(data, metric)
    with progress.step("drawing"):
        drawn = plots.draw(data, metric, style=style, **options)
        name = style or next(iter(plots.figures_of(data)))
        path = output or Path("heatmap.png" if name in _MAPS else f"{name}.png")
        written = plots.save(drawn, path)
    click.echo(written)
