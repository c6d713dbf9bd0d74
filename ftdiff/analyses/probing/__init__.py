"""Where a label can be read from a model's states: probes by layer and token, with their null.

To add a position: its name in `positions.POSITIONS` and what finds it in `positions.place`.
"""

from ftdiff.analyses.probing import findings
from ftdiff.analyses.probing.measure import Settings, probe
from ftdiff.analyses.probing.result import Probe

__all__ = ["Probe", "Settings", "findings", "probe"]
