"""ΔW in the form it came in, answering for its own norm without being multiplied out."""

from ftdiff.deltas.forms.dense import Dense
from ftdiff.deltas.forms.hadamard import Hadamard
from ftdiff.deltas.forms.kronecker import Kronecker
from ftdiff.deltas.forms.lowrank import LowRank
from ftdiff.deltas.forms.protocol import Delta

__all__ = ["Delta", "Dense", "Hadamard", "Kronecker", "LowRank"]
