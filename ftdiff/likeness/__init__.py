"""How alike many fine-tunes are: cosines of ΔW with their null, groups, what merges keep."""

from ftdiff.likeness.comparing import MEASURES, similarity
from ftdiff.likeness.result import Similarity

__all__ = ["MEASURES", "Similarity", "similarity"]
