"""What a number in a cell means: one registered function for each metric, and what noise gives.

To add a metric: a function of sums (or of a record in `records/`), decorated with `@metric`, in the
module of its group.
"""

from ftdiff.metrics import absolutes, geometry, loss, magnitude, rounding, spectral, structure
from ftdiff.metrics.floor import TRUSTED_SNR, faint
from ftdiff.metrics.registry import (
    METRICS,
    NEEDS,
    Metric,
    Sums,
    groups,
    measurable,
    metric,
    resolve,
)

__all__ = [
    "METRICS",
    "NEEDS",
    "TRUSTED_SNR",
    "Metric",
    "Sums",
    "absolutes",
    "faint",
    "geometry",
    "groups",
    "loss",
    "magnitude",
    "measurable",
    "metric",
    "resolve",
    "rounding",
    "spectral",
    "structure",
]
