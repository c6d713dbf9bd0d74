"""How alike many fine-tunes are: cosines of ΔW with their null, groups, what merges keep."""

from ftdiff.analyses.similarity import findings
from ftdiff.analyses.similarity.measure import MEASURES, similarity
from ftdiff.analyses.similarity.one_against_many import Against, held_against
from ftdiff.analyses.similarity.result import Similarity

__all__ = ["MEASURES", "Against", "Similarity", "findings", "held_against", "similarity"]
