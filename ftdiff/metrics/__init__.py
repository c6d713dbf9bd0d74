"""What a number in a cell means: one registered function for each metric, and what noise gives."""

from ftdiff.metrics import absolutes as absolute
from ftdiff.metrics import geometry, magnitude, spectral
from ftdiff.metrics import rounding as storage
from ftdiff.metrics.magnitude import TRUSTED_SNR, faint
from ftdiff.metrics.registry import METRICS, NEEDS, Metric, Sums, groups, metric, resolve

__all__ = [
    "METRICS",
    "NEEDS",
    "TRUSTED_SNR",
    "Metric",
    "Sums",
    "absolute",
    "faint",
    "geometry",
    "groups",
    "magnitude",
    "metric",
    "resolve",
    "spectral",
    "storage",
]
