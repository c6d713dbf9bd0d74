"""Refuse settings that ask PEFT for more than the saved tensors can need: it makes them first."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ftdiff.errors import BadAdapter

#: Ranks, blocks and steps up to this are made of any module.
_FEW = 1024
#: Numbers that are neither a side nor a count of anything.
_FREE = re.compile("seed|key|alpha|scal|warmup|interval|exponent|eps|beta|bound|dropout|rate")
#: How many numbers of a tensor are trained, or how many pass over it.
_COUNTS = re.compile("n_frequency|theta_d_length")
_STEPS = re.compile("terms|niter|depth")


def refuse_outsized(settings: Mapping[str, Any], shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse a rank, a block, a count or a number of steps beyond what the tensors can be of.

    Parameters
    ----------
    settings
        What decides the change, from adapter_config.json.
    shapes
        Of the module's weight and of its saved tensors.

    Raises
    ------
    BadAdapter
        PEFT would take memory, or time, for what no tensor of the module has.
    """
    side = max((s for shape in shapes for s in shape), default=0)
    numbers = max(map(math.prod, shapes), default=0)
    for name, value in _numbers(settings):
        most = _FEW if _STEPS.search(name) else max(_FEW, side)
        if _COUNTS.search(name):
            most = max(_FEW, numbers)
        if abs(value) > most:
            told = f"{name} is {value!r:.40}, and the module's tensors have no more than {most:,}"
            raise BadAdapter(f"adapter_config.json: {told}")


def _numbers(settings: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, int | float]]:
    for key, value in settings.items():
        if not name and _FREE.search(key):
            continue
        if isinstance(value, Mapping):
            yield from _numbers(value, name or key)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name or key, value
