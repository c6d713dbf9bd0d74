"""How names are written on a figure."""

from __future__ import annotations

from ftdiff.naming.labels import column_labels, component_of, distinct, label_of, shown

__all__ = ["column_labels", "component_of", "distinct", "label_of", "shown"]
