"""How a change grew over training: from checkpoints of one run, each read once."""

from ftdiff.analyses.trajectory import findings
from ftdiff.analyses.trajectory.measure import trajectory
from ftdiff.analyses.trajectory.result import Trajectory

__all__ = ["Trajectory", "findings", "trajectory"]
