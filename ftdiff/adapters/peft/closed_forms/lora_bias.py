"""LoRA's own bias (`lora_bias`): scaling · b reaches the layer's bias, or makes one."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft.closed_forms.lora_factors import Factors
from ftdiff.adapters.peft.closed_forms.lora_resumed import resumed
from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.recipes import Added, NewBias, Recipe
from ftdiff.formats.note import Note
from ftdiff.tensors import Array, LazyTensor

#: The code of the note that layers without a bias get one.
NEW_BIASES = "new-biases"
_WHY = "the layer has no bias to add it to, so that PEFT runs the adapter and refuses to merge it"


def read(module: Module, found: Factors) -> Reading:
    """Return the recipe of the layer's bias; of a new one where the base's layer has none."""
    bias = module.tensors["lora_B.bias"]
    copy = module.tensors.get("base_layer.bias")
    weight = f"{module.path}.weight"
    lacks = module.target.find(f"{module.path}.bias") is None
    if lacks and copy is None and module.target.find(weight) is not None:
        name = f"{module.target.name(weight).rpartition('.')[0]}.bias"
        text = (
            "lora_bias is set, and layers that it acts on have no bias in the base: it goes from 0 "
            "to scaling · b, which PEFT runs and refuses to merge"
        )
        recipe: Recipe = NewBias(Scaled(bias, found.scaling), _WHY)
        return Reading({name: recipe}, {name: found.origin}, {}, (Note(NEW_BIASES, text),))
    added = Added(bias.shape, Column(bias, found.scaling))
    recipe = added
    notes: list[str] = []
    if copy is not None:
        recipe, notes = resumed(module, added, copy, "bias")
    name = module.target.name(f"{module.path}.bias")
    spent = not_compared(recipe, "bias", copy)
    return Reading({name: recipe}, {name: found.origin}, {}, tuple(notes), spent)


def not_compared(recipe: Recipe, param: str, copy: LazyTensor | None) -> dict[str, tuple[str, ...]]:
    """Return the part that is a copy of what no base is there to hold it against."""
    apart = copy is not None and isinstance(recipe, Added)
    return {f"base_layer.{param}": ()} if apart else {}


@dataclass(frozen=True)
class Column:
    """ΔW = scaling · a stored vector, as one column."""

    tensor: LazyTensor
    scaling: float

    def make(self) -> LowRank:
        """Read the vector as float32."""
        column = self.tensor.read().astype(np.float32).reshape(-1, 1)
        return LowRank(column, np.ones((1, 1), np.float32), self.scaling)


@dataclass(frozen=True)
class Scaled:
    """A stored vector times the scaling, in float32."""

    tensor: LazyTensor
    scaling: float

    @property
    def shape(self) -> tuple[int, ...]:
        """The vector's."""
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        """What the product is made in."""
        return "F32"

    @property
    def storage(self) -> Hashable:
        """None: no run of the file's bytes is the product."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Return these entries."""
        return self.tensor.read(rows).astype(np.float32) * np.float32(self.scaling)

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend entries."""
        with self.tensor.window(start, stop) as values:
            yield values.astype(np.float32) * np.float32(self.scaling)
