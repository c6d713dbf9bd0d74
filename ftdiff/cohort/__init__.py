"""Many fine-tunes of one base, measured together, tensor by tensor."""

from ftdiff.cohort.lineup import Line, Lineup, apart_from, labels, line_up, place
from ftdiff.cohort.measuring import Asked, Together, floor_sq, measure
from ftdiff.cohort.run import run
from ftdiff.cohort.storing import (
    COLUMNS,
    checked_about,
    checked_sums,
    load,
    packed,
    save,
    tensors_of,
    unpacked,
)
from ftdiff.cohort.trouble import trouble, troubles

__all__ = [
    "COLUMNS",
    "Asked",
    "Line",
    "Lineup",
    "Together",
    "apart_from",
    "checked_about",
    "checked_sums",
    "floor_sq",
    "labels",
    "line_up",
    "load",
    "measure",
    "packed",
    "place",
    "run",
    "save",
    "tensors_of",
    "trouble",
    "troubles",
    "unpacked",
]
