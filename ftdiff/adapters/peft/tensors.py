"""A module's tensors by the part that they play: which of them a key names, which are missing."""

from __future__ import annotations

from collections.abc import Collection

from ftdiff.adapters.family import Module, Reading
from ftdiff.deltas.recipes import Unreadable
from ftdiff.errors import BadAdapter
from ftdiff.tensors import LazyTensor


def split(name: str, parts: Collection[str]) -> tuple[str, str] | None:
    """Return a key's module path and part, dropping what follows: `.default`, `.weight`.

    >>> split("layers.0.q_proj.hada_w1_a.default", ("hada_w1_a",))
    ('layers.0.q_proj', 'hada_w1_a')
    """
    words = name.split(".")
    at = next((i for i, word in enumerate(words) if i and word in parts), None)
    return None if at is None else (".".join(words[:at]), words[at])


def needed(module: Module, *parts: str, sides: int = 2) -> tuple[LazyTensor, ...]:
    """Return parts that are of no use without each other, and check how many sides they have.

    Raises
    ------
    BadAdapter
        One is missing, empty on a side, or no matrix.
    """
    gone = next((part for part in parts if part not in module.tensors), None)
    if gone is not None:
        here, tensor = next(iter(module.tensors.items()))
        raise BadAdapter(f"{module.path}: adapter has {here} ({times(tensor.shape)}) but no {gone}")
    found = tuple(module.tensors[part] for part in parts)
    for part, tensor in zip(parts, found, strict=True):
        if len(tensor.shape) != sides:
            shape = times(tensor.shape)
            raise BadAdapter(f"{module.path}: {part} is {shape}: {sides} sides were expected")
    return found


def agree(module: Module, said: str, *sizes: int) -> int:
    """Return a size that several tensors have in common.

    Raises
    ------
    BadAdapter
        They have not, or it is none.
    """
    if len({*sizes}) > 1:
        found = ", ".join(map(str, sizes))
        raise BadAdapter(f"{module.path}: the adapter's tensors disagree on {said}: {found}")
    return sizes[0]


def unreadable(module: Module, reason: str) -> Reading:
    """Return the reading of a module whose change cannot be had."""
    weight = f"{module.path}.weight"
    base = module.target.find(weight)
    shape = base.shape if base is not None else ()
    return Reading({module.target.name(weight): Unreadable(shape, reason)})


def times(shape: tuple[int, ...]) -> str:
    """Return a shape as it is read: 16×4096."""
    return "×".join(map(str, shape)) or "scalar"
