"""What a model is of others: which merge, of whom, with which coefficients, and how exactly.

To add an arithmetic that is replayed: its line in `ways.WAYS`.
"""

from ftdiff.analyses.merges.measure import merge_of
from ftdiff.analyses.merges.result import MergeOf

__all__ = ["MergeOf", "merge_of"]
