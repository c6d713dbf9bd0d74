"""ΔW in the form it came in, answering for its own norm without being multiplied out."""

from ftdiff.deltas.delta import Delta
from ftdiff.deltas.dense import Dense
from ftdiff.deltas.hadamard import Hadamard
from ftdiff.deltas.kronecker import Kronecker
from ftdiff.deltas.lowrank import LowRank
from ftdiff.deltas.pairs import inner_products

__all__ = ["Delta", "Dense", "Hadamard", "Kronecker", "LowRank", "inner_products"]
