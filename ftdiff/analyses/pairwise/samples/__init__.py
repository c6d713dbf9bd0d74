"""What can be asked of many fine-tunes beside their inner products, one file each."""

from __future__ import annotations

from collections.abc import Callable

from ftdiff.analyses.pairwise.line import Line
from ftdiff.analyses.pairwise.samples.masks import Masks
from ftdiff.analyses.pairwise.samples.probe import Probe
from ftdiff.analyses.pairwise.samples.signs import Signs
from ftdiff.analyses.pairwise.samples.sketch import Sketch
from ftdiff.registry import Registry

__all__ = ["PROBES", "Probe"]

PROBES: Registry[Callable[[Line], Probe]] = Registry(
    "probe", {"masks": Masks, "signs": Signs, "sketch": Sketch}
)
