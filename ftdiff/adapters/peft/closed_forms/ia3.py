"""(IA)³: rows of the base, or the columns that its inputs meet, multiplied by learned numbers.

Liu et al., Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper, NeurIPS 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft import tensors as parts
from ftdiff.adapters.peft.closed_form import ClosedForm, among
from ftdiff.adapters.peft.orientation import turned
from ftdiff.adapters.peft.patterns import matches
from ftdiff.deltas.recipes import Rebuilt, Recipe
from ftdiff.errors import BadAdapter
from ftdiff.tensors import Array, LazyTensor, matrix_shape, numel

_PART = "ia3_l"


def read(module: Module) -> Reading:
    """Return the recipes of a module's weight, and of its bias where outputs are multiplied."""
    factors = module.tensors[_PART]
    base = module.target.find(f"{module.path}.weight")
    if base is None:
        raise BadAdapter(f"{module.path}: (IA)³ multiplies the base's weight; give the base")
    size = numel(factors.shape)
    if len(factors.shape) != len(base.shape) or size != max(factors.shape):
        told = f"ia3_l is {parts.times(factors.shape)}, and the base {parts.times(base.shape)}"
        raise BadAdapter(f"{module.path}: {told}")
    inputs = _multiplies_inputs(module, factors)
    axis, groups = _axis(module, base.shape, size, inputs)
    needs = f"{module.path}: (IA)³ multiplies the base"
    rule = Multiplied(factors, axis, groups)
    name = module.target.name(f"{module.path}.weight")
    recipes: dict[str, Recipe] = {name: Rebuilt(base.shape, rule, "ia3", needs)}
    bias = module.target.find(f"{module.path}.bias")
    if bias is not None and not inputs:
        if bias.shape != (size,):
            raise BadAdapter(f"{module.path}: {size} factors for a bias of {bias.shape}")
        recipe = Rebuilt(bias.shape, Multiplied(factors, 0), "ia3", needs)
        recipes[module.target.name(f"{module.path}.bias")] = recipe
    told = f"{'inputs' if inputs else 'outputs'} are multiplied by ia3_l, in the file"
    return Reading(recipes, dict.fromkeys(recipes, told))


def _multiplies_inputs(module: Module, factors: LazyTensor) -> bool:
    """Say whether the numbers are the inputs'; a linear layer's shape tells, others' do not."""
    if len(factors.shape) == 2 and numel(factors.shape) > 1:
        return factors.shape[0] == 1
    told = module.config.get("feedforward_modules")
    if isinstance(told, str):
        return matches(told, module.path, "feedforward_modules")
    if not isinstance(told, list) or not all(isinstance(name, str) for name in told):
        raise BadAdapter(f"adapter_config.json: feedforward_modules is {told!r}, not a list")
    return module.path.endswith(tuple(told))


def _axis(module: Module, shape: tuple[int, ...], size: int, inputs: bool) -> tuple[int, int]:
    """Return the axis of the weight that is multiplied, and a convolution's groups."""
    axis = int(inputs)
    if len(shape) == 2:
        square = shape[0] == shape[1]
        if shape[axis] != size or (square and turned(module)):
            axis = 1 - axis
    groups = size // shape[1] if inputs and len(shape) > 2 and shape[1] else 1
    if shape[axis] * groups != size or shape[0] % groups:
        side = "inputs" if inputs else "outputs"
        told = f"{size} factors for the {side} of {parts.times(shape)}"
        raise BadAdapter(f"{module.path}: {told}")
    return axis, groups


@dataclass(frozen=True)
class Multiplied:
    """ΔW = W ∘ (l − 1), along one axis.

    Parameters
    ----------
    factors
        l, one number for each place on the axis, of each group.
    axis
        0 for rows of the matrix; 1 for input channels, each with its kernel.
    groups
        Of a convolution: which inputs a row meets depends on its group.
    """

    factors: LazyTensor
    axis: int
    groups: int = 1

    def make(self, base: LazyTensor) -> MultipliedRule:
        """Read the numbers."""
        moved = self.factors.read().astype(np.float32).reshape(-1) - np.float32(1)
        rows, columns = matrix_shape(base.shape)
        if self.axis == 0:
            return MultipliedRule(moved[:, None], 1)
        channels = moved.reshape(self.groups, -1)
        kernel = columns // max(1, channels.shape[1])
        return MultipliedRule(np.repeat(channels, kernel, axis=1), rows // self.groups)


@dataclass(frozen=True, eq=False)
class MultipliedRule:
    """The rule of `Multiplied`, its numbers read.

    Parameters
    ----------
    moved
        l − 1: for each run of rows a number, or a number for each column.
    run
        How many rows go by one row of `moved`.
    """

    moved: Array
    run: int

    def rows(self, W: Array, start: int) -> Array:
        """Return ΔW for these rows."""
        dW: Array = W * self.moved[np.arange(start, start + len(W)) // self.run]
        return dW


FORM = ClosedForm("ia3", among(_PART), read)
