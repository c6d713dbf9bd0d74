"""What a single-file adapter does to one weight: its factor, its shape, and DoRA on top of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft.closed_forms import lora_factors
from ftdiff.adapters.peft.closed_forms.dora import Dora
from ftdiff.adapters.peft.closed_forms.lora_factors import times
from ftdiff.deltas.recipes import Added, Maker, Rebuilt, Recipe
from ftdiff.errors import BadAdapter
from ftdiff.formats.note import Note
from ftdiff.tensors import LazyTensor, matrix_shape, numel


@dataclass(frozen=True)
class Change:
    """ΔL before anything rescales it.

    Attributes
    ----------
    shape
        As the adapter spells it.
    maker
        What becomes ΔL, its factor included.
    origin
        The factor and where it came from, in words.
    form
        low-rank, hadamard, kronecker.
    """

    shape: tuple[int, ...]
    maker: Maker
    origin: str
    form: str = "low-rank"


def scale(module: Module, rank: int) -> tuple[float, str]:
    """Return α/r from the module's own alpha; 1 where it is absent, or 0, which says the same.

    A LoRA configuration, the header's or one beside the file, takes the place of the alphas.

    Raises
    ------
    BadAdapter
        The alpha is no finite number, or there is one beside a configuration.
    """
    tensor = module.tensors.get("alpha")
    if module.config:
        if tensor is not None:
            raise BadAdapter(f"{module.path}: an alpha of its own beside a configuration; which?")
        return lora_factors.scale(module, rank)
    if tensor is None:
        return 1.0, "1: no alpha in the file"
    if numel(tensor.shape) != 1:
        raise BadAdapter(f"{module.path}: alpha has shape {times(tensor)}, not one number")
    alpha = float(tensor.read().astype(np.float64).reshape(-1)[0])
    if not np.isfinite(alpha):
        raise BadAdapter(f"{module.path}: alpha is {alpha}")
    if alpha == 0.0:
        return 1.0, "1: alpha is 0 in the file, which stands for the rank"
    return alpha / rank, f"α/r = {alpha:g}/{rank}, alpha in the file"


def finished(module: Module, weight: str, change: Change) -> Reading:
    """Return the recipe of a change, after the rescaling that the module asks for.

    Parameters
    ----------
    module
        The module; its `dora_scale`, or PEFT's `magnitude`, makes it a DoRA.
    weight
        The base's name of the weight.
    change
        What is added before.

    Raises
    ------
    BadAdapter
        The magnitudes fit neither outputs nor inputs.
    """
    base = module.target.find(f"{module.path}.weight")
    shape = fitted(change.shape, base)
    scalings = {weight: change.origin}
    magnitude = module.tensors.get("dora_scale", module.tensors.get("magnitude"))
    if magnitude is None:
        return Reading({weight: Added(shape, change.maker, change.form)}, scalings)
    columns = _by_column(module, magnitude, shape)
    told = "input column" if columns else "output row"
    maker = Dora(change.maker, magnitude, columns)
    needs = f"{module.path}: DoRA rescales the sum of base and adapter"
    recipe: Recipe = Rebuilt(shape, maker, "dora", needs)
    note = f"DoRA as its trainer computes it: by the norm of W + ΔW for each {told}"
    if "dora_scale" in module.tensors and not columns:
        note += "; ComfyUI divides by the norm of W alone, which makes another change"
    return Reading({weight: recipe}, scalings, notes=(Note("dora-of-trainer", note),))


def fitted(shape: tuple[int, ...], base: LazyTensor | None) -> tuple[int, ...]:
    """Return the base's shape where it spells the same matrix, as 1×1 convolutions do."""
    if base is not None and matrix_shape(base.shape) == matrix_shape(shape):
        return base.shape
    return shape


def together(module: Module, *parts: str) -> tuple[LazyTensor, ...]:
    """Return parts that are of no use without each other.

    Raises
    ------
    BadAdapter
        One is missing.
    """
    gone = [_said(part) for part in parts if part not in module.tensors]
    if gone:
        here = next((part for part in parts if part in module.tensors), next(iter(module.tensors)))
        found = f"{_said(here)} ({times(module.tensors[here])})"
        raise BadAdapter(f"{module.path}: adapter has {found} but no {gone[0]}")
    return tuple(module.tensors[part] for part in parts)


def _said(part: str) -> str:
    return {"up": "lora_up", "down": "lora_down"}.get(part, part)


def _by_column(module: Module, magnitude: LazyTensor, shape: tuple[int, ...]) -> bool:
    """Say whether magnitudes are the input columns': (1, in, 1…) against (out, 1, …)."""
    out, into = shape[0], shape[1] if len(shape) > 1 else 1
    sides = magnitude.shape
    own = "dora_scale" in module.tensors  # PEFT's are the outputs', though of a shape (1, out, 1…)
    if own and len(sides) > 1 and sides[0] == 1 and numel(sides) == sides[1] == into and out != 1:
        return True
    if numel(sides) != out:
        raise BadAdapter(
            f"{module.path}: magnitudes ({times(magnitude)}) fit neither {out} outputs "
            f"nor {into} inputs"
        )
    return False
