"""Functions from a diff, or a plain matrix, to matplotlib Axes, drawn with seaborn.

To add a figure: a function `(diff, metric, *, ax=None, **style) -> Axes` in `charts/`, and its line
in FIGURES (`figures/registry.py`). A style of heatmap: a module in `heatmaps/`, a line in STYLES.
"""

from __future__ import annotations

from ftdiff.comparison.matrix_files import read_matrix
from ftdiff.plots.charts.energy import energy
from ftdiff.plots.charts.heads import heads
from ftdiff.plots.charts.profile import profile
from ftdiff.plots.charts.scatter import scatter
from ftdiff.plots.charts.spectrum import spectrum
from ftdiff.plots.charts.strips import strips
from ftdiff.plots.elements.saving import save, svg
from ftdiff.plots.figures.drawing import OF_RUNS, draw, figures_of
from ftdiff.plots.figures.drift import drift, drift_parts
from ftdiff.plots.figures.facets import facets
from ftdiff.plots.figures.lineage import lineage
from ftdiff.plots.figures.merge_of import merge_of
from ftdiff.plots.figures.probing import probe
from ftdiff.plots.figures.registry import FIGURES
from ftdiff.plots.figures.shared_scale import limits
from ftdiff.plots.figures.similarity import similarities, similarity
from ftdiff.plots.figures.towers import towers
from ftdiff.plots.figures.trajectory import courses, trajectory
from ftdiff.plots.heatmaps import STYLES
from ftdiff.plots.heatmaps.heatmap import heatmap

__all__ = [
    "FIGURES",
    "OF_RUNS",
    "STYLES",
    "courses",
    "draw",
    "drift",
    "drift_parts",
    "energy",
    "facets",
    "figures_of",
    "heads",
    "heatmap",
    "limits",
    "lineage",
    "merge_of",
    "probe",
    "profile",
    "read_matrix",
    "save",
    "scatter",
    "similarities",
    "similarity",
    "spectrum",
    "strips",
    "svg",
    "towers",
    "trajectory",
]
