"""What may have become of a tensor: the words of the frame's `status`."""

from __future__ import annotations

#: On both sides, and it moved.
CHANGED = "changed"
#: On both sides, measured, and the same.
IDENTICAL = "identical"
#: A base tensor that the adapter does not name: the same by construction.
UNTOUCHED = "untouched"
#: Of the fine-tune only.
ADDED = "added"
#: Of the base only.
REMOVED = "removed"
#: On both sides with another shape; the common rows, where there are any, were compared.
RESHAPED = "reshaped"
#: It could not be read.
UNREADABLE = "unreadable"

#: All, in the order of reports.
STATUSES = (CHANGED, RESHAPED, IDENTICAL, UNTOUCHED, ADDED, REMOVED, UNREADABLE)
#: Statuses of tensors that moved, or may have: what a ratio of a group is taken over.
MOVED = (CHANGED, RESHAPED)
#: Statuses of tensors that are the base's.
STILL = (IDENTICAL, UNTOUCHED)
#: Statuses of tensors that are on both sides.
PAIRED = (*MOVED, *STILL)
