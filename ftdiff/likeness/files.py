"""A similarity as a document, whole and exact to the bit, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftdiff.cohort import packed, tensors_of, unpacked
from ftdiff.frames import records
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd

    from ftdiff.likeness.result import Similarity

FORMAT = "ftdiff.similarity/1"

Parts = tuple[tuple[str, ...], "pd.DataFrame", dict[str, Array], dict[str, Any]]


def document(found: Similarity) -> dict[str, Any]:
    """Return everything as values that JSON holds; what is missing is null."""
    return {
        "format": FORMAT,
        "names": [*found.names],
        "about": found.about,
        "tensors": records(found.tensors),
        "sums": {name: packed(array) for name, array in found.sums.items()},
    }


def parts(stored: Mapping[str, Any]) -> Parts:
    """Return names, tensors, sums and about of a document.

    Raises
    ------
    ValueError, KeyError, TypeError
        They do not fit each other.
    """
    names = tuple(map(str, stored["names"]))
    tensors, about = tensors_of(stored["tensors"]), stored["about"]
    sums = {str(name): unpacked(array) for name, array in stored["sums"].items()}
    unfit = [name for name, array in sums.items() if len(array) != len(tensors)]
    if unfit or sums["inner"].shape[1:] != (len(names), len(names)):
        raise ValueError("sums")
    if not isinstance(about, dict):
        raise TypeError("about")
    return names, tensors, sums, about
