"""Experts that a file stores apart, where the model in memory stacks them: which goes where."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from ftdiff.adapters.family import Target

#: An expert's own tensors, the stacked parameter each is a part of, and which part: Mixtral's
#: names, then Qwen's, DeepSeek's and most others'.
_PARTS = {
    "w1": ("gate_up_proj", 0),
    "w3": ("gate_up_proj", 1),
    "w2": ("down_proj", 0),
    "gate_proj": ("gate_up_proj", 0),
    "up_proj": ("gate_up_proj", 1),
    "down_proj": ("down_proj", 0),
}
#: How many parts lie above each other in a stacked parameter.
PART_ROWS = {"gate_up_proj": 2, "down_proj": 1}

_EXPERT = re.compile(r"(?P<layer>.+)\.[^.]+\.experts\.(?P<expert>\d+)\.(?P<leaf>\w+)\.weight")


@dataclass(frozen=True)
class Part:
    """A base tensor that is a run of rows of one expert in the stack."""

    name: str
    shape: tuple[int, int]
    expert: int
    half: int


def split_experts(target: Target, path: str) -> Mapping[str, tuple[Part, ...]]:
    """Return the parts of a module's stacked parameters, by the parameter's name.

    Parameters
    ----------
    target
        The base.
    path
        The module as the adapter spells it: `model.layers.0.mlp.experts`. The word between layer
        and experts may be another in the file (`block_sparse_moe`).

    Notes
    -----
    A parameter of which a part is missing, or whose parts differ in shape, is left out.
    """
    layer = path.rpartition(".experts")[0].rpartition(".")[0]
    if not layer or not path.endswith(".experts"):
        return {}
    found: dict[str, list[Part]] = defaultdict(list)
    for name, shape in target.layer(layer).items():
        match = _EXPERT.fullmatch(name)
        if match is not None and match["leaf"] in _PARTS and len(shape) == 2:
            parameter, half = _PARTS[match["leaf"]]
            found[parameter].append(Part(name, (shape[0], shape[1]), int(match["expert"]), half))
    return {name: tuple(parts) for name, parts in found.items() if _whole(name, parts)}


def _whole(parameter: str, parts: list[Part]) -> bool:
    wanted = PART_ROWS[parameter] * (1 + max(part.expert for part in parts))
    distinct = {(part.expert, part.half) for part in parts}
    return len(parts) == wanted == len(distinct) and len({part.shape for part in parts}) == 1
