"""What PEFT looks for in an adapter's file: the keys of every module, and the shapes it makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftdiff.adapters.loading.keys import PREFIX, Own
from ftdiff.adapters.loading.modules import Kind, Modules
from ftdiff.adapters.loading.parts import NEEDING, SHARED, Parts, Place, parts, rank
from ftdiff.adapters.loading.targets import Targets, targets

#: Model types whose `Conv1D` layers store in × out, and how these are called.
_CONV1D = ("gpt2", "imagegpt", "openai-gpt", "decision_transformer")
_TURNED = ("c_attn", "c_proj", "c_fc")


@dataclass(frozen=True)
class Want:
    """The parts of one module, with their shapes, empty where any will do; its rank, or None."""

    parts: Parts
    rank: int | None = None


@dataclass(frozen=True)
class Wanted:
    """What PEFT looks for.

    Attributes
    ----------
    targets
        What the configuration targets; without a base, the modules of the file that PEFT can know.
    layers
        What each module is to have that gets an adapter, by its path.
    shared
        What all modules use; the first of it has to be in the file.
    """

    targets: Targets
    layers: Mapping[str, Want] = field(default_factory=dict)
    shared: Parts = field(default_factory=dict)


def wanted(
    kind: str,
    config: Mapping[str, Any],
    held: Sequence[Own],
    modules: Modules | None,
    model_type: str = "",
) -> Wanted:
    """Return what PEFT looks for.

    Parameters
    ----------
    kind, config
        The adapter's type and configuration.
    held
        Its keys, by module.
    modules, model_type
        The base's, None where there is no base; its model type.

    Raises
    ------
    BadAdapter
        A pattern is none, or could be matched for hours.
    """
    found = _alone(held) if modules is None else targets(config, modules)
    modules = modules or Modules({}, {})
    if not found.known:  # PEFT has targets of its own for some models: the file's are taken
        own = {one.path for one in held if not one.foreign}
        found = Targets(tuple(sorted(own & modules.leaves.keys())), found.saved, known=False)
    keys = {one.path: one.keys for one in held if not one.foreign}
    usual = _usual(found, keys)
    layers: dict[str, Want] = {}
    for path in found.adapted:
        place = _place(kind, config, path, keys.get(path, ()), modules, model_type)
        known = parts(kind, place)
        layers[path] = Want(usual if known is None else known, place.r)
    for path, count in found.parameters.items():
        levels = ["base_layer." * level for level in range(count)]
        layers[path] = Want({f"{up}lora_{side}.weight": None for up in levels for side in "AB"})
    return Wanted(found, layers, _shared(kind, config, found, modules))


def _alone(held: Sequence[Own]) -> Targets:
    nested = {one.path for one in held if any("base_layer." in key for key in one.keys)}
    return Targets(tuple(sorted({one.path for one in held if not one.wrapped} - nested)))


def _place(
    kind: str,
    config: Mapping[str, Any],
    path: str,
    keys: Sequence[str],
    modules: Modules,
    model_type: str,
) -> Place:
    own = modules.leaves.get(path, {})
    what: Kind = modules.kind(path) if own else "linear"
    shape = own.get("weight")
    if what == "linear" and (not modules.leaves or path in modules.embeddings):
        what = "embedding" if any("_embedding_" in key for key in keys) else what
    out, into = shape if shape is not None and len(shape) == 2 else (None, None)
    if model_type in _CONV1D and path.rpartition(".")[2] in _TURNED:
        out, into = into, out
    return Place(path, what, shape, "bias" in own, out, into, rank(kind, config, path), config)


def _usual(found: Targets, keys: Mapping[str, Sequence[str]]) -> Parts:
    """Return the parts that most modules of the file have, for a type whose own are unknown."""
    counts: Counter[tuple[str, ...]] = Counter()
    for path in found.adapted:
        if path in keys:
            counts[tuple(sorted(key.removeprefix(f"{PREFIX}{path}.") for key in keys[path]))] += 1
    return dict.fromkeys(counts.most_common(1)[0][0]) if counts else {}


def _shared(kind: str, config: Mapping[str, Any], found: Targets, modules: Modules) -> Parts:
    """Return what all modules use, where the file is to have it."""
    if kind in NEEDING and not config.get("save_projection", True):
        return {}
    names: Parts = dict.fromkeys(SHARED.get(kind, ()))
    if kind == "VERA":
        weights = [modules.leaves.get(path, {}).get("weight", ()) for path in found.adapted]
        sides = [shape for shape in weights if len(shape) == 2]
        out, into = (max((shape[i] for shape in sides), default=None) for i in (0, 1))
        r = rank(kind, config, "")
        names |= {"vera_A": (r, into), "vera_B": (out, r)}
    return names
