"""What weights and their change are worth on a text: tensor by tensor, and layer by layer."""

from ftdiff.analyses.importance.measure import Settings, drawn, importance
from ftdiff.analyses.importance.overlap import Overlap
from ftdiff.analyses.importance.result import Importance

__all__ = ["Importance", "Overlap", "Settings", "drawn", "importance"]
