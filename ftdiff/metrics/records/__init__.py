"""What has to be taken entry by entry: thresholds crossed, what a merge would keep, both sides."""

from ftdiff.metrics.records.absolutes import Absolutes, absolutes
from ftdiff.metrics.records.crossings import Crossings, crossings
from ftdiff.metrics.records.merge_rounding import ROUNDED, Merged, merged

__all__ = ["ROUNDED", "Absolutes", "Crossings", "Merged", "absolutes", "crossings", "merged"]
