"""The parts of a similarity as a document, exact to the bit, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ftdiff.analyses.pairwise import checked_about, checked_sums, packed, tensors_of, unpacked
from ftdiff.analyses.similarity.formulas import SPACES
from ftdiff.comparison.frame import records
from ftdiff.comparison.storage import Form
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd

FORM = Form("similarity")

#: Sums that files of earlier releases lack, or that are not always asked for.
_LATER = {"base_rounding_sq": "each", "unrounded": "pairs", "unrounded_error_sq": "pairs"}

#: What each measure adds to the sums: of all pairs, of each fine-tune, or one number.
MEASURED: Mapping[str, Mapping[str, str]] = {
    "masks": {"both": "pairs"},
    "signs": {
        **dict.fromkeys(("kept_both", "opposed"), "pairs"),
        **dict.fromkeys(("kept_sq", "elected_sq", "merged_inner"), "each"),
        **dict.fromkeys(("merged_sq", "several", "disagreeing"), "one"),
    },
    "subspaces": dict.fromkeys(SPACES, "pairs"),
}


class Parts(NamedTuple):
    """What a similarity is made of; see `Similarity`."""

    names: tuple[str, ...]
    tensors: pd.DataFrame
    sums: Mapping[str, Array]
    about: dict[str, Any]


def document(parts: Parts) -> dict[str, Any]:
    """Return the parts as values that JSON holds; what is missing is null."""
    return {
        "names": [*parts.names],
        "about": parts.about,
        "tensors": records(parts.tensors),
        "sums": {name: packed(array) for name, array in parts.sums.items()},
    }


def parts(stored: Mapping[str, Any]) -> Parts:
    """Return names, tensors, sums and about of a document.

    Raises
    ------
    ValueError, KeyError, TypeError
        They do not fit each other.
    """
    names = tuple(map(str, stored["names"]))
    tensors, about = tensors_of(stored["tensors"]), checked_about(stored["about"])
    sums = {str(name): unpacked(array) for name, array in stored["sums"].items()}
    count, n = len(tensors), len(names)
    if len({*names}) < n or n < 2:
        raise ValueError("names")
    shapes = {"inner": (count, n, n), "floor_sq": (count, n)}
    sides = {"pairs": (count, n, n), "each": (count, n), "one": (count, 1)}
    shapes |= {name: sides[kind] for name, kind in _LATER.items() if name in sums}
    for measure, known in MEASURED.items():
        if any(name.startswith(f"{measure}.") for name in sums):
            shapes |= {f"{measure}.{name}": sides[kind] for name, kind in known.items()}
    checked_sums(sums, shapes)
    if len(sums) < len(shapes):
        raise KeyError("sums")
    return Parts(names, tensors, sums, about)
