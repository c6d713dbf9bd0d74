"""GraLoRA: ΔW = α/(r + r_h) · a k × k grid of low-rank blocks, with a plain pair beside it.

Jung et al., GraLoRA: Granular Low-Rank Adaptation, NeurIPS 2025.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft import tensors as parts
from ftdiff.adapters.peft.closed_form import ClosedForm, among
from ftdiff.adapters.peft.config_numbers import over_rank
from ftdiff.adapters.peft.orientation import stored
from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.recipes import Added
from ftdiff.deltas.recipes.added import matrix
from ftdiff.errors import BadAdapter
from ftdiff.tensors import LazyTensor

_BLOCKS = ("gralora_A", "gralora_B")
_PLAIN = ("gralora_A_general", "gralora_B_general")


def read(module: Module) -> Reading:
    """Return the recipe of a module's weight."""
    A, B = parts.needed(module, *_BLOCKS, sides=3)
    k = parts.agree(module, "gralora_k", A.shape[0], B.shape[0])
    rank = parts.agree(module, "the rank", A.shape[2], B.shape[1])
    if rank % k:
        raise BadAdapter(f"{module.path}: rank {rank} is not divided by the {k} blocks of a side")
    out, into = k * B.shape[2], k * A.shape[1]
    beside = _beside(module, out, into)
    hybrid = beside[0].shape[0] if beside else 0
    told = f"hybrid_r = {hybrid}" if hybrid else ""
    scaling, origin = over_rank(module, "alpha", rank + hybrid, told, pattern="")
    shape, turned = stored(module, out, into)
    name = module.target.name(f"{module.path}.weight")
    recipe = Added(shape, Grid(A, B, scaling, beside, turned))
    return Reading({name: recipe}, {name: origin})


def _beside(module: Module, out: int, into: int) -> tuple[LazyTensor, LazyTensor] | None:
    """Return the plain pair, where the configuration has a rank for it."""
    if not module.config.get("hybrid_r") and not set(_PLAIN) & set(module.tensors):
        return None
    A, B = parts.needed(module, *_PLAIN)
    parts.agree(module, "hybrid_r", A.shape[0], B.shape[1])
    parts.agree(module, "the sides of the weight", out * into, B.shape[0] * A.shape[1])
    return A, B


@dataclass(frozen=True)
class Grid:
    """ΔW = scaling · (blocks + plain pair), or its transpose.

    Parameters
    ----------
    A, B
        k × in/k × r and k × r × out/k.
    scaling
        α/(r + r_h).
    beside
        The plain pair, r_h × in and out × r_h.
    transposed
        The base is stored in × out.

    Notes
    -----
    Block (p, n) of the grid is the product of columns n·r/k… of B_p, transposed, with columns
    p·r/k… of A_n: outputs of each block reach all blocks. As one product its inner dimension is
    k·r, with B block diagonal.
    """

    A: LazyTensor
    B: LazyTensor
    scaling: float
    beside: tuple[LazyTensor, LazyTensor] | None = None
    transposed: bool = False

    def make(self) -> LowRank:
        """Read the blocks as float32 and lay them out as one pair of factors."""
        A, B = self.A.read().astype(np.float32), self.B.read().astype(np.float32)
        k, width, rank = A.shape
        height = B.shape[2]
        left = np.zeros((k, height, k, rank), np.float32)
        left[range(k), :, range(k)] = B.transpose(0, 2, 1)
        right = np.zeros((k, k, rank // k, k, width), np.float32)
        parted = A.reshape(k, width, k, rank // k)
        right[:, range(k), :, range(k)] = parted.transpose(0, 2, 3, 1)
        B, A = left.reshape(k * height, k * rank), right.reshape(k * rank, k * width)
        if self.beside is not None:
            B = np.concatenate([B, matrix(self.beside[1])], axis=1)
            A = np.concatenate([A, matrix(self.beside[0])], axis=0)
        dW = LowRank(B, A, self.scaling)
        return dW.transposed() if self.transposed else dW


FORM = ClosedForm("gralora", among(*_BLOCKS, *_PLAIN), read)
