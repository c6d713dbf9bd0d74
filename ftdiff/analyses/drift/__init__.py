"""How far the states and predictions of a fine-tune lie apart from its base's on a text.

To add a number of states: its name in `tally.NUMBERS`, and its value in `Tally.numbers`.
"""

from ftdiff.analyses.drift import findings
from ftdiff.analyses.drift.measure import Settings, drift
from ftdiff.analyses.drift.result import Drift

__all__ = ["Drift", "Settings", "drift", "findings"]
