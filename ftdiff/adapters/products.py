"""ΔW from the products that LyCORIS trains: Tucker cores, Hadamard and Kronecker products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.deltas.forms import Delta, Dense, Hadamard, Kronecker, LowRank
from ftdiff.deltas.recipes.added import matrix
from ftdiff.tensors import Array, LazyTensor


@dataclass(frozen=True)
class Pair:
    """A matrix from its two factors, with a core between them for a convolution's kernel.

    Parameters
    ----------
    left, right
        rows × r and r × columns; with a core, r × rows unless `upright`, and r × columns.
    core
        r × r × kernel; the columns are then the kernel's too.
    upright
        The left factor is rows × r in spite of a core.

    Notes
    -----
    With a core T, ΔW[o, i, k] = Σ left[a, o] T[a, b, k] right[b, i] (Tucker-2; Kim et al., 2016),
    which is left times (T ×₂ right): still of rank r.
    """

    left: LazyTensor
    right: LazyTensor
    core: LazyTensor | None = None
    upright: bool = False

    def read(self, scaling: float = 1.0) -> LowRank:
        """Read the factors, the core folded into the right one in float64."""
        left, right = matrix(self.left), matrix(self.right)
        if self.core is None:
            return LowRank(left, right, scaling)
        if not self.upright:
            left = np.ascontiguousarray(left.T)
        r, s = self.core.shape[:2]
        core = self.core.read().astype(np.float64).reshape(r, s, -1)
        folded = np.einsum("abk,bi->aik", core, right.astype(np.float64))
        return LowRank(left, np.ascontiguousarray(folded.reshape(r, -1), np.float32), scaling)


@dataclass(frozen=True)
class Tucker:
    """ΔW = scaling · up (mid ×₂ down): a LoRA of a convolution with its kernel in the middle."""

    up: LazyTensor
    mid: LazyTensor
    down: LazyTensor
    scaling: float

    def make(self) -> LowRank:
        """Read the three factors."""
        return Pair(self.up, self.down, self.mid, upright=True).read(self.scaling)


@dataclass(frozen=True)
class Loha:
    """ΔW = scaling · (w1_a w1_b) ∘ (w2_a w2_b), with a core in each pair for kernels.

    Hyeon-Woo, Ye-Bin and Oh, FedPara, ICLR 2022.
    """

    w1_a: LazyTensor
    w1_b: LazyTensor
    w2_a: LazyTensor
    w2_b: LazyTensor
    scaling: float
    t1: LazyTensor | None = None
    t2: LazyTensor | None = None

    def make(self) -> Hadamard:
        """Read all factors."""
        first = Pair(self.w1_a, self.w1_b, self.t1).read()
        return Hadamard(first, Pair(self.w2_a, self.w2_b, self.t2).read(), self.scaling)


@dataclass(frozen=True)
class Lokr:
    """ΔW = scaling · w1 ⊗ w2, each whole or a pair of factors.

    Parameters
    ----------
    w1, w2
        Whole matrices, where they are stored whole; w2 may have a kernel.
    w1_a, w1_b, w2_a, w2_b, t2
        The factors, where they are not.
    scaling
        1 where both are whole.
    """

    w1: LazyTensor | None
    w2: LazyTensor | None
    scaling: float
    w1_a: LazyTensor | None = None
    w1_b: LazyTensor | None = None
    w2_a: LazyTensor | None = None
    w2_b: LazyTensor | None = None
    t2: LazyTensor | None = None

    def make(self) -> Kronecker:
        """Read both sides."""
        left = _side(self.w1, self.w1_a, self.w1_b, None)
        return Kronecker(left, _side(self.w2, self.w2_a, self.w2_b, self.t2), self.scaling)


def _side(
    whole: LazyTensor | None, a: LazyTensor | None, b: LazyTensor | None, core: LazyTensor | None
) -> Delta:
    if whole is not None:
        dense: Array = matrix(whole)
        return Dense(dense)
    assert a is not None and b is not None
    return Pair(a, b, core).read()
