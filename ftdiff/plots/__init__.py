"""Functions from a diff, or a plain matrix, to matplotlib Axes, drawn with seaborn."""

from __future__ import annotations

from ftdiff.plots.drawing import heatmap
from ftdiff.plots.kinship import similarities, similarity
from ftdiff.plots.saving import save
from ftdiff.plots.styles import STYLES
from ftdiff.sheets import read_matrix

__all__ = ["STYLES", "heatmap", "read_matrix", "save", "similarities", "similarity"]
