"""Functions from a diff, or a plain matrix, to matplotlib Axes, drawn with seaborn."""

from __future__ import annotations

from ftdiff.plots.course import courses, trajectory
from ftdiff.plots.drawing import heatmap
from ftdiff.plots.energy import energy
from ftdiff.plots.facets import facets, limits
from ftdiff.plots.figures import FIGURES, draw
from ftdiff.plots.heads import heads
from ftdiff.plots.kinship import similarities, similarity
from ftdiff.plots.profile import profile
from ftdiff.plots.saving import save
from ftdiff.plots.scatter import scatter
from ftdiff.plots.spectrum import spectrum
from ftdiff.plots.strips import strips
from ftdiff.plots.styles import STYLES
from ftdiff.sheets import read_matrix

__all__ = [
    "FIGURES",
    "STYLES",
    "courses",
    "draw",
    "energy",
    "facets",
    "heads",
    "heatmap",
    "limits",
    "profile",
    "read_matrix",
    "save",
    "scatter",
    "similarities",
    "similarity",
    "spectrum",
    "strips",
    "trajectory",
]
