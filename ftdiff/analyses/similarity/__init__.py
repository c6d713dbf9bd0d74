"""How alike many fine-tunes are: cosines of ΔW with their null, groups, what merges keep."""

from ftdiff.analyses.similarity import findings
from ftdiff.analyses.similarity.measure import MEASURES, similarity
from ftdiff.analyses.similarity.result import Similarity

__all__ = ["MEASURES", "Similarity", "findings", "similarity"]
