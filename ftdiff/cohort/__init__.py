"""Many fine-tunes of one base, measured together, tensor by tensor."""

from ftdiff.cohort.lineup import Line, Lineup, labels, line_up
from ftdiff.cohort.measuring import Asked, Together, measure
from ftdiff.cohort.run import run

__all__ = ["Asked", "Line", "Lineup", "Together", "labels", "line_up", "measure", "run"]
