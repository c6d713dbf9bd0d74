"""The modules of a base, from the names in its headers: paths, what each holds, what it can be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ftdiff.naming import locate
from ftdiff.naming.tables import read_words

Shape = tuple[int, ...]
Kind = Literal["linear", "embedding", "convolution", "attention", "norm", "parameters"]

#: Wrappers that trainings put around a model, and models do not.
_TRAINING = frozenset({"base_model", "module", "_forward_module", "auto_model"})
#: Words of towers, which newer versions of transformers moved inside a path; loaders rename them.
_VISION = frozenset({"visual", "vision_tower", "vision_model"})
_SPARSE = "block_sparse_moe"
_MOVED = frozenset({"language_model", "text_model"}) | _VISION


@dataclass(frozen=True)
class Modules:
    """A model's modules as far as tensors show them.

    Attributes
    ----------
    leaves
        The shapes of each module's own tensors, by the module's path, then by their last word.
    names
        The base's spelling of each path.
    """

    leaves: Mapping[str, Mapping[str, Shape]]
    names: Mapping[str, str]

    @classmethod
    def of(cls, shapes: Mapping[str, Shape], config: Mapping[str, Any]) -> Modules:
        """Sort a base's tensors by module; a head that is tied to the embedding is one too."""
        leaves: dict[str, dict[str, Shape]] = defaultdict(dict)
        names: dict[str, str] = {}
        inside = read_words().inside
        for name, shape in shapes.items():
            path, _, last = inside.sub("", name).removeprefix("module.").rpartition(".")
            leaves[path][last] = shape
            names[path] = name.rpartition(".")[0]
        tied = config.get("tie_word_embeddings") is True and "lm_head" not in leaves
        embedding = next((path for path in leaves if path.endswith("embed_tokens")), None)
        if tied and embedding is not None and "weight" in leaves[embedding]:
            leaves["lm_head"] = {"weight": leaves[embedding]["weight"]}
            names["lm_head"] = names[embedding]
        return cls(leaves, names)

    @cached_property
    def containers(self) -> frozenset[str]:
        """The paths that hold other modules."""
        found: set[str] = set()
        for path in self.leaves:
            above = path.rpartition(".")[0]
            while above and above not in found:
                found.add(above)
                above = above.rpartition(".")[0]
        return frozenset(found)

    @cached_property
    def embeddings(self) -> Mapping[str, str]:
        """The role of each embedding, by path: "tokens", or another."""
        weights = {f"{path}.weight": path for path, own in self.leaves.items() if "weight" in own}
        places = locate(weights)
        return {weights[n]: place.role for n, place in places.items() if place.block == "embed"}

    def kind(self, path: str) -> Kind:
        """Return what a module is, as its tensors show it."""
        own = self.leaves.get(path, {})
        if "in_proj_weight" in own or {"q_proj_weight", "k_proj_weight"} <= own.keys():
            return "attention"
        shape = own.get("weight")
        if shape is None:
            return "parameters"
        if len(shape) == 2:
            return "embedding" if self.embeddings.get(path) == "tokens" else "linear"
        return "norm" if len(shape) < 2 else "convolution"

    def below(self, path: str) -> dict[str, Shape]:
        """Return the shapes of all tensors under a path, by the rest of their names."""
        found: dict[str, Shape] = dict(self.leaves.get(path, {}))
        start = f"{path}."
        for other, own in self.leaves.items():
            if other.startswith(start):
                rest = other.removeprefix(start)
                found |= {f"{rest}.{last}": shape for last, shape in own.items()}
        return found

    def moved(self, new: str, old: str) -> Modules:
        """Return the modules under another root: `old` at the start of a path becomes `new`."""
        if not new and not old:
            return self
        paths = {p: new + p.removeprefix(old) for p in self.leaves if p.startswith(old)}
        paths |= {p: p for p in self.leaves if not p.startswith(old) or _outside(p)}
        return Modules(
            {paths[path]: own for path, own in self.leaves.items()},
            {paths[path]: self.names[path] for path in self.leaves},
        )


def in_memory(modules: Modules, found: Iterable[str]) -> Modules:
    """Return the modules as the model in memory calls them, where an adapter's paths show that.

    Mixtral's files say `block_sparse_moe` where its class has `mlp` in newer versions, and files
    of models that see hold beside `model.` what their class has below it: a tower, a projector.
    """
    found = [*found]
    paths = {path: path for path in modules.leaves}
    if not any(f".{_SPARSE}." in f"{path}." for path in found):
        paths = {path: path.replace(f".{_SPARSE}", ".mlp") for path in paths}
    if any(not _VISION.isdisjoint(path.split(".")[:2]) for path in paths):
        below = {path.split(".")[1] for path in found if path.startswith("model.")}
        below -= {path.split(".")[1] for path in paths if path.startswith("model.")}
        paths = {
            path: f"model.{new}" if new.partition(".")[0] in below else new
            for path, new in paths.items()
        }
    return Modules(
        {paths[path]: own for path, own in modules.leaves.items()},
        {paths[path]: name for path, name in modules.names.items()},
    )


def _outside(path: str) -> bool:
    """Say whether a module is a head, which stands beside the model that has a prefix."""
    return "." not in path and ("head" in path or path in ("score", "classifier", "qa_outputs"))


def root(modules: Modules, found: Iterable[str]) -> tuple[str, str]:
    """Return by which root an adapter's paths differ from the base's: theirs, and the base's.

    A base that was saved without its head has no `model.` before its names, or has one that the
    adapter's model lacks; no other difference is one of roots.

    >>> own = Modules.of({"h.0.mlp.c_fc.weight": (4, 4)}, {})
    >>> root(own, ["transformer.h.0.mlp.c_fc"])
    ('transformer.', '')
    """
    paths = [*found]
    if any(path in modules.leaves for path in paths):
        return "", ""
    tails: dict[str, list[str]] = defaultdict(list)
    for path in modules.leaves:
        tails[_tail(path)].append(path)
    roots: Counter[tuple[str, str]] = Counter()
    for path in paths:
        tail = _tail(path)
        for other in tails.get(tail, ()):
            roots[path.removesuffix(tail), other.removesuffix(tail)] += 1
    sees = any(not _VISION.isdisjoint(path.split(".")[:2]) for path in modules.leaves)
    known = [pair for pair, _ in roots.most_common() if _is_root(*pair, sees=sees)]
    return known[0] if known else ("", "")


def _tail(path: str) -> str:
    """Return the part of a path from its list of layers on; its last word where it has none."""
    words = path.split(".")
    number = next((i for i, word in enumerate(words) if word.isdecimal()), len(words))
    return ".".join(words[max(0, number - 1) :]) if number < len(words) else words[-1]


def _is_root(new: str, old: str, *, sees: bool) -> bool:
    """Say whether two roots are of one model; only one that sees has its language model inside."""
    ours, theirs = ([word for word in side.split(".") if word] for side in (new, old))
    words = {*ours, *theirs}
    if not words <= (read_words().wrappers | _MOVED) - _TRAINING:
        return False
    if len({*ours}) < len(ours) or len({*theirs}) < len(theirs):
        return False
    if sees or (_MOVED & {*ours} and _MOVED & {*theirs}):
        return True
    return not (ours and theirs) and not words & _MOVED
