"""How a change grew over training: from checkpoints of one run, each read once."""

from ftdiff.journey.measuring import trajectory
from ftdiff.journey.result import Trajectory

__all__ = ["Trajectory", "trajectory"]
