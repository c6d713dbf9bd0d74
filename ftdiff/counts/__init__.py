"""What has to be counted entry by entry: thresholds crossed, and what a merge would keep."""

from ftdiff.counts.crossings import Crossings, crossings
from ftdiff.counts.merged import ROUNDED, Merged, merged

__all__ = ["ROUNDED", "Crossings", "Merged", "crossings", "merged"]
