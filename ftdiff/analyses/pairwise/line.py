"""One base tensor, and what each of many fine-tunes makes of it."""

from __future__ import annotations

from dataclasses import dataclass

from ftdiff.deltas.recipes import Recipe
from ftdiff.naming import Address
from ftdiff.tensors import LazyTensor


@dataclass(frozen=True)
class Line:
    """One base tensor, and what each of n fine-tunes makes of it.

    Attributes
    ----------
    address, base
        The tensor's place, and the tensor, where there is a base.
    shape
        What all of the recipes change: the base tensor's shape, or the rows that all have.
    recipes
        n of them; None where a fine-tune leaves the tensor as it is.
    unknown
        Which fine-tunes lack the tensor though they are whole checkpoints: their change is
        missing, not zero.
    """

    address: Address
    base: LazyTensor | None
    shape: tuple[int, ...]
    recipes: tuple[Recipe | None, ...]
    unknown: frozenset[int] = frozenset()
