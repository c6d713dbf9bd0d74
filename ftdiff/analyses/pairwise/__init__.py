"""Many fine-tunes of one base, measured together, tensor by tensor."""

from ftdiff.analyses.pairwise.alignment import Lineup, apart_from, chosen, labels, line_up, place
from ftdiff.analyses.pairwise.file_notes import noted, said
from ftdiff.analyses.pairwise.inner_products import Asked, Together, floor_sq, measure, unmeasured
from ftdiff.analyses.pairwise.line import Line
from ftdiff.analyses.pairwise.problems import trouble, troubles
from ftdiff.analyses.pairwise.storage import (
    COLUMNS,
    checked_about,
    checked_sums,
    packed,
    tensors_of,
    unpacked,
)
from ftdiff.analyses.pairwise.tasks import run

__all__ = [
    "COLUMNS",
    "Asked",
    "Line",
    "Lineup",
    "Together",
    "apart_from",
    "checked_about",
    "checked_sums",
    "chosen",
    "floor_sq",
    "labels",
    "line_up",
    "measure",
    "noted",
    "packed",
    "place",
    "run",
    "said",
    "tensors_of",
    "trouble",
    "troubles",
    "unmeasured",
    "unpacked",
]
