"""Differences that a file holds entry by entry: alone, or beside the factors of the same module."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.lycoris.change import fitted
from ftdiff.deltas.forms import Dense
from ftdiff.deltas.recipes import Added, Maker, Recipe, StoredDelta
from ftdiff.formats.note import Note
from ftdiff.tensors import LazyTensor, matrix_shape, numel

#: Parts by the tensor of the module that they are differences of, first come, first read.
_PARTS = {"weight": ("diff", "w_norm"), "bias": ("diff_b", "b_norm"), "modulation": ("diff_m",)}
#: Those that are not of the weight.
ELSEWHERE = tuple(part for param, parts in _PARTS.items() if param != "weight" for part in parts)
_TOLD = "1: the file holds the difference itself"


@dataclass(frozen=True)
class Both:
    """ΔW = what factors make + a stored difference.

    Parameters
    ----------
    maker
        What becomes the first.
    tensor
        The second, entry by entry.
    """

    maker: Maker
    tensor: LazyTensor

    def make(self) -> Dense:
        """Multiply the factors out and add the difference, in float64."""
        dW = self.maker.make().dense()
        return Dense(dW + self.tensor.read().astype(np.float64).reshape(matrix_shape(dW.shape)))


def differences(module: Module, reading: Reading, *also: str) -> Reading:
    """Return the reading with the differences of the bias, the modulation, and `also` of others."""
    for param in (*also, "bias", "modulation"):
        for part in _PARTS[param]:
            reading = with_stored(module, reading, param, part)
    return reading


def beside_factors(module: Module, reading: Reading, weight: str) -> Reading:
    """Return the reading of factors with the whole differences that stand beside them."""
    reading = differences(module, reading)
    part = next((part for part in _PARTS["weight"] if part in module.tensors), None)
    factors = reading.recipes.get(weight)
    if part is None or not isinstance(factors, Added):  # else it is read, or nothing is added to it
        return reading
    difference = module.tensors[part]
    if numel(difference.shape) != numel(factors.shape):
        return reading
    both = replace(factors, maker=Both(factors.maker, difference), form="dense")
    told = f"{reading.scalings.get(weight, '1')}, and {part} as it is"
    text = (
        f"factors and a whole difference ({part}) of one weight are added up; ComfyUI takes the "
        "difference alone"
    )
    return replace(
        reading,
        recipes={**reading.recipes, weight: both},
        scalings={**reading.scalings, weight: told},
        notes=(*reading.notes, Note("difference-beside-factors", text)),
    )


def with_stored(module: Module, reading: Reading, param: str, part: str) -> Reading:
    """Return the reading with a difference that the file holds, if it does and nothing is there."""
    tensor = module.tensors.get(part)
    asked = f"{module.path}.{param}"
    if tensor is None:
        return reading
    if param == "weight" and module.target.find(asked) is None:
        asked = module.path if module.target.find(module.path) is not None else asked
    name = module.target.name(asked)
    if name in reading.recipes:
        return reading
    shape = fitted(tensor.shape, module.target.find(asked))
    recipe: Recipe = StoredDelta(tensor, shape if shape != tensor.shape else None)
    scalings = {**reading.scalings, name: _TOLD}
    return replace(reading, recipes={**reading.recipes, name: recipe}, scalings=scalings)
