"""Singular values and leading subspaces of a change and of its base, each with its error bound."""

from ftdiff.spectra.lanczos import Leading, leading
from ftdiff.spectra.matrices import Changed, Held, Matrix, Stored
from ftdiff.spectra.spectrum import Spectrum, of_matrix, spectrum
from ftdiff.spectra.subspaces import Geometry, geometry, leading_directions
from ftdiff.spectra.whole import singular_values

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
