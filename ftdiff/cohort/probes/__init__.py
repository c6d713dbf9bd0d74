"""What can be asked of many fine-tunes beside their inner products, one file each."""

from __future__ import annotations

from collections.abc import Callable

from ftdiff.cohort.lineup import Line
from ftdiff.cohort.probes.masks import Masks
from ftdiff.cohort.probes.probe import Probe
from ftdiff.cohort.probes.signs import Signs
from ftdiff.cohort.probes.sketch import Sketch
from ftdiff.registry import Registry

__all__ = ["PROBES", "Probe"]

PROBES: Registry[Callable[[Line], Probe]] = Registry(
    "probe", {"masks": Masks, "signs": Signs, "sketch": Sketch}
)
