"""VeRA: ΔW = (λ_b ∘ B) (λ_d ∘ A), with projections A and B that all modules share.

Kopiczko, Blankevoort and Asano, VeRA, ICLR 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft import tensors as parts
from ftdiff.adapters.peft.closed_form import ClosedForm, among
from ftdiff.adapters.peft.orientation import turned
from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.recipes import Added
from ftdiff.errors import BadAdapter, Irreproducible
from ftdiff.tensors import Array, LazyTensor

_SHARED = ("vera_A", "vera_B")
_PARTS = ("vera_lambda_b", "vera_lambda_d")


def check(config: Mapping[str, Any]) -> None:
    """Raise where the projections are not in the file.

    Raises
    ------
    Irreproducible
        They were not saved.
    """
    if not config.get("save_projection", True):
        raise Irreproducible(
            "adapter_config.json: save_projection is false: the projections are drawn from torch's "
            "generator, in the sizes of the largest target; save the adapter with them"
        )


def read(module: Module) -> Reading:
    """Return the recipe of a module's weight."""
    b, d = parts.needed(module, *_PARTS, sides=1)
    A, B = (_projection(module, name) for name in _SHARED)
    out, rank = b.shape[0], d.shape[0]
    shape, flipped = _base_shape(module, out)
    into = shape[0] if flipped else shape[1]
    if A.shape[0] != rank or B.shape[1] != rank or A.shape[1] < into or B.shape[0] < out:
        told = f"vera_A {parts.times(A.shape)} and vera_B {parts.times(B.shape)}"
        raise BadAdapter(f"{module.path}: {told} do not reach over rank {rank}, {out}×{into}")
    name = module.target.name(f"{module.path}.weight")
    maker = Scaled(A, B, b, d, into, flipped)
    return Reading({name: Added(shape, maker)}, {name: "1: λ_b and λ_d are in the file"})


def _projection(module: Module, name: str) -> LazyTensor:
    tensor = module.shared.get(name)
    if tensor is None or len(tensor.shape) != 2:
        raise BadAdapter(f"{module.path}: adapter has no base_model.{name} that could be projected")
    return tensor


def _base_shape(module: Module, out: int) -> tuple[tuple[int, int], bool]:
    """Return the base's shape, which alone says how much of the projections a module uses."""
    base = module.target.find(f"{module.path}.weight")
    if base is None:
        raise BadAdapter(
            f"{module.path}: only the weight's shape says how much of the shared projections it "
            "uses; give the base"
        )
    if len(base.shape) != 2 or out not in base.shape:
        shape = parts.times(base.shape)
        raise BadAdapter(f"{module.path}: {out} outputs in the adapter, and the base is {shape}")
    rows, columns = base.shape
    flipped = rows != out or (rows == columns and turned(module))
    return (rows, columns), flipped


@dataclass(frozen=True)
class Scaled:
    """ΔW = (λ_b ∘ B[:out]) (λ_d ∘ A[:, :in]), or its transpose.

    Parameters
    ----------
    A, B
        r × the largest in, and the largest out × r.
    b, d
        out, and r numbers: the rows' factors.
    into
        How many columns of A the weight sees.
    transposed
        The base is stored in × out.
    """

    A: LazyTensor
    B: LazyTensor
    b: LazyTensor
    d: LazyTensor
    into: int
    transposed: bool = False

    def make(self) -> LowRank:
        """Read the module's part of the projections as float32."""
        B = _rows(self.B.read(slice(self.b.shape[0])), self.b)
        A = _rows(self.A.read()[:, : self.into], self.d)
        dW = LowRank(B, A)
        return dW.transposed() if self.transposed else dW


def _rows(M: Array, factors: LazyTensor) -> Array:
    scaled: Array = M.astype(np.float32) * factors.read().astype(np.float32)[:, None]
    return scaled


FORM = ClosedForm("vera", among(*_PARTS), read, check, shared=_SHARED)
