"""Adapters on replicated layers: which base tensor stands behind each name of the deeper model."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from ftdiff.errors import BadAdapter

#: Where PEFT looks for the list of layers: Llama's, BERT's, Falcon's.
_LAYER = re.compile(
    r"(?P<list>(?:(?:base_model|model|bert|transformer)\.)*(?:layers|encoder\.layer|h))"
    r"\.(?P<layer>\d+)\.(?P<rest>.+)"
)


def layout(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """Return the base tensor behind each tensor of the model that the adapter was trained on.

    Parameters
    ----------
    config
        The adapter's; `layer_replication` is a list of [start, stop): the layers of the base, in
        the order of the new model.
    names
        The base's tensor names.

    Returns
    -------
    dict
        Base name by new name; empty where no layer was replicated, or there is no base.

    Raises
    ------
    BadAdapter
        The ranges are none, or leave the base.
    """
    ranges = config.get("layer_replication")
    if not ranges:
        return {}
    elsewhere: dict[str, str] = {}
    layers: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
    for name in names:
        found = _LAYER.fullmatch(name)
        if found is None:
            elsewhere[name] = name
        else:
            layers[int(found["layer"])].append((found["list"], found["rest"], name))
    if not elsewhere and not layers:
        return {}
    order = [layer for start, stop in _ranges(ranges, len(layers)) for layer in range(start, stop)]
    replicas = {
        f"{path}.{new}.{rest}": name
        for new, old in enumerate(order)
        for path, rest, name in layers[old]
    }
    return elsewhere | replicas


def _ranges(ranges: Any, layers: int) -> list[tuple[int, int]]:
    pairs = ranges if isinstance(ranges, list) else [ranges]
    for pair in pairs:
        fits = isinstance(pair, list) and len(pair) == 2 and all(type(end) is int for end in pair)
        if not fits or not 0 <= pair[0] <= pair[1] <= layers:
            raise BadAdapter(
                f"adapter_config.json: layer_replication has {pair!r}, which is no range of the "
                f"base's {layers} layers; is this the right base?"
            )
    return [(start, stop) for start, stop in pairs]
