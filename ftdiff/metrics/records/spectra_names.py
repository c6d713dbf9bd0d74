"""Singular values and leading subspaces of a change and of its base, each with its error bound."""

from ftdiff.metrics.linalg.lanczos import Leading, leading
from ftdiff.metrics.linalg.row_matrices import Changed, Held, Matrix, Stored
from ftdiff.metrics.linalg.svd import singular_values
from ftdiff.metrics.records.spectra import Spectrum, of_matrix, spectrum
from ftdiff.metrics.records.subspaces import Geometry, geometry, leading_directions

__all__ = [
    "Changed",
    "Geometry",
    "Held",
    "Leading",
    "Matrix",
    "Spectrum",
    "Stored",
    "geometry",
    "leading",
    "leading_directions",
    "of_matrix",
    "singular_values",
    "spectrum",
]
