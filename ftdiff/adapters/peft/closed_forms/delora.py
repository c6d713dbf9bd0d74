"""DeLoRA: ΔW = λ/r · Σ bᵢ aᵢᵀ / (‖bᵢ‖ ‖aᵢ‖), its columns scaled by those of the base.

Bini, Girrbach and Akata, Decoupling Angles and Strength in Low-rank Adaptation, ICLR 2025.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft import tensors as parts
from ftdiff.adapters.peft.closed_form import ClosedForm, among
from ftdiff.adapters.peft.orientation import stored
from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.recipes import Added
from ftdiff.deltas.recipes.added import matrix
from ftdiff.tensors import Array, LazyTensor

_PARTS = ("delora_A", "delora_B", "delora_lambda", "delora_w_norm")
#: What PEFT takes for a norm that is smaller.
_LEAST = 1e-4


def read(module: Module) -> Reading:
    """Return the recipe of a module's weight."""
    A, B = parts.needed(module, "delora_A", "delora_B")
    strength, norms = parts.needed(module, "delora_lambda", "delora_w_norm", sides=1)
    rank = parts.agree(module, "the rank", A.shape[0], B.shape[1])
    parts.agree(module, "the inputs", A.shape[1], norms.shape[0])
    parts.agree(module, "the size of delora_lambda", 1, strength.shape[0])
    shape, turned = stored(module, B.shape[0], A.shape[1])
    name = module.target.name(f"{module.path}.weight")
    told = f"λ/r, λ in the file and r = {rank}; columns by delora_w_norm, also in the file"
    return Reading({name: Added(shape, Normed(A, B, strength, norms, turned))}, {name: told})


@dataclass(frozen=True)
class Normed:
    """ΔW = B diag(λ / (r ‖aᵢ‖ ‖bᵢ‖)) A diag(norms), or its transpose.

    Parameters
    ----------
    A, B
        r × in and out × r.
    strength
        λ, one number.
    norms
        The norms of the columns of the base that was trained on.
    transposed
        The base is stored in × out.
    """

    A: LazyTensor
    B: LazyTensor
    strength: LazyTensor
    norms: LazyTensor
    transposed: bool = False

    def make(self) -> LowRank:
        """Read all of them, the numbers in front of the pairs into A as float32."""
        A, B = (matrix(side).astype(np.float64) for side in (self.A, self.B))
        strength = self.strength.read().astype(np.float64) / len(A)
        front = strength / (_norms(A, 1) * _norms(B, 0))
        A = front[:, None] * A * self.norms.read().astype(np.float64)
        dW = LowRank(B.astype(np.float32), A.astype(np.float32))
        return dW.transposed() if self.transposed else dW


def _norms(M: Array, axis: int) -> Array:
    squares: Array = np.square(M).sum(axis=axis)
    return np.maximum(np.sqrt(squares), _LEAST)


FORM = ClosedForm("delora", among(*_PARTS), read)
