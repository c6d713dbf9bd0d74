"""What a number in a cell means: one registered function for each metric, and what noise gives."""

from ftdiff.metrics import absolute, geometry, magnitude, spectral, storage
from ftdiff.metrics.registry import METRICS, NEEDS, Metric, Sums, groups, metric, resolve

__all__ = [
    "METRICS",
    "NEEDS",
    "Metric",
    "Sums",
    "absolute",
    "geometry",
    "groups",
    "magnitude",
    "metric",
    "resolve",
    "spectral",
    "storage",
]
