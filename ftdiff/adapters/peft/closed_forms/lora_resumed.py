"""A base tensor that the adapter saved beside its factors: the change goes through the copy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.adapters.family import Module
from ftdiff.deltas.forms import Delta
from ftdiff.deltas.recipes import Added, Maker, Rebuilt, Recipe, Unreadable
from ftdiff.formats.note import Note
from ftdiff.tensors import Array, LazyTensor, matrix_shape


def resumed(
    module: Module, added: Added, copy: LazyTensor, param: str = "weight"
) -> tuple[Recipe, list[str]]:
    """Return the recipe of copy + ΔW − W, and notes.

    PEFT saves embeddings whole where they are targets or were resized; mostly the copy is the
    base, and the difference is exactly ΔW. Without a base it is taken to be.
    """
    if copy.shape != added.shape:
        reason = f"{module.path}: the saved base_layer and the adapter's change differ in shape"
        return Unreadable(copy.shape, f"{reason}: {copy.shape} against {added.shape}"), []
    if module.target.find(f"{module.path}.{param}") is None:
        text = f"{module.path}: its saved base_layer is not compared without a base"
        return added, [Note("copy-not-compared", text)]
    needs = f"{module.path}: the adapter saved a base_layer, and how it differs from the base"
    recipe = Rebuilt(added.shape, Copied(copy, added.maker), "resumed", needs, rowwise=True)
    return recipe, []


@dataclass(frozen=True)
class Copied:
    """ΔW = (copy − W) + what is added to the copy."""

    copy: LazyTensor
    maker: Maker

    def make(self, base: LazyTensor) -> CopiedRule:
        """Read the factors."""
        return CopiedRule(self.copy, self.maker.make())


@dataclass(frozen=True, eq=False)
class CopiedRule:
    """The rule of `Copied`, its factors read."""

    copy: LazyTensor
    added: Delta

    def rows(self, W: Array, start: int) -> Array:
        """Return ΔW for these rows; exactly what is added where the copy is the base."""
        stop = start + len(W)
        return (rows_of(self.copy, start, stop) - W) + self.added.rows(start, stop)


def rows_of(tensor: LazyTensor, start: int, stop: int) -> Array:
    """Return rows of a tensor's matrix in float32."""
    columns = matrix_shape(tensor.shape)[1]
    with tensor.window(start * columns, stop * columns) as flat:
        return flat.astype(np.float32).reshape(stop - start, columns)
