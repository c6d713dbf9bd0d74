"""What has to be taken entry by entry: thresholds crossed, what a merge would keep, both sides."""

from ftdiff.counts.absolutes import Absolutes, absolutes
from ftdiff.counts.crossings import Crossings, crossings
from ftdiff.counts.merged import ROUNDED, Merged, merged

__all__ = ["ROUNDED", "Absolutes", "Crossings", "Merged", "absolutes", "crossings", "merged"]
