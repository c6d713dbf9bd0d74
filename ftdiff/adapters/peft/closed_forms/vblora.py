"""VB-LoRA: ΔW = B A, whose factors are mixed from one bank of vectors.

Li et al., VB-LoRA: Extreme Parameter Efficient Fine-Tuning with Vector Banks, NeurIPS 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft import tensors as parts
from ftdiff.adapters.peft.closed_form import ClosedForm, among
from ftdiff.adapters.peft.orientation import stored
from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.recipes import Added
from ftdiff.errors import BadAdapter
from ftdiff.tensors import Array, LazyTensor

_BANK = "vblora_vector_bank"
_SIDES = ("vblora_logits_A", "vblora_logits_B")
_INDICES, _WEIGHTS = "_topk_indices", "_topk_weights"
_PARTS = tuple(side + end for side in _SIDES for end in ("", _INDICES, _WEIGHTS))


def check(config: Mapping[str, Any]) -> None:
    """Raise for a configuration that does not say how many vectors are mixed.

    Raises
    ------
    BadAdapter
        It has no `topk`.
    """
    if type(config.get("topk")) is not int or config["topk"] < 1:
        raise BadAdapter(f"adapter_config.json: topk is {config.get('topk')!r}, not a number")


def read(module: Module) -> Reading:
    """Return the recipe of a module's weight."""
    bank = module.shared.get(_BANK)
    if bank is None or len(bank.shape) != 2:
        raise BadAdapter(f"{module.path}: adapter has no base_model.{_BANK}")
    A, B = (_mix(module, side, bank) for side in _SIDES)
    rank = parts.agree(module, "the rank", A.shape[0], B.shape[1])
    length = bank.shape[1]
    shape, turned = stored(module, B.shape[0] * length, A.shape[1] * length)
    name = module.target.name(f"{module.path}.weight")
    told = f"1: the vectors' weights are in the file, rank {rank}"
    return Reading({name: Added(shape, Mixed(A, B, turned))}, {name: told})


def _mix(module: Module, side: str, bank: LazyTensor) -> Mix:
    if {side + _INDICES, side + _WEIGHTS} & set(module.tensors):
        indices, weights = parts.needed(module, side + _INDICES, side + _WEIGHTS, sides=3)
        kept = indices.shape[-1] - 1
        if weights.shape != (*indices.shape[:2], kept):
            told = f"{parts.times(indices.shape)} and {parts.times(weights.shape)}"
            raise BadAdapter(f"{module.path}: indices and weights of {side} are {told}")
        return Mix(bank, weights, indices)
    (logits,) = parts.needed(module, side, sides=3)
    vectors = parts.agree(module, "the number of vectors", bank.shape[0], logits.shape[-1])
    topk = int(module.config["topk"])
    if topk > vectors:
        raise BadAdapter(f"{module.path}: topk is {topk}, and the bank has {vectors} vectors")
    return Mix(bank, logits, None, topk)


@dataclass(frozen=True)
class Mix:
    """A grid of vectors, each a mixture of some of the bank's.

    Parameters
    ----------
    bank
        vectors × length.
    weights
        Logits for every vector of the bank, of which the largest count; or, with `indices`, the
        weights of all but the last one, which is what is left to 1.
    indices
        Which vectors, if the file names them.
    topk
        How many count, if it does not.
    """

    bank: LazyTensor
    weights: LazyTensor
    indices: LazyTensor | None
    topk: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The grid's two sides."""
        return self.weights.shape[:2]

    def read(self) -> Array:
        """Return the vectors, float32: sides of the grid × length."""
        bank = self.bank.read().astype(np.float32)
        if self.indices is None:
            chosen, weights = _softmax(self.weights.read().astype(np.float64), self.topk)
        else:
            chosen = self.indices.read().astype(np.int64)
            held = self.weights.read().astype(np.float64)
            weights = np.concatenate([held, 1 - held.sum(axis=-1, keepdims=True)], axis=-1)
        asked = int(chosen.max(initial=0))
        if chosen.min(initial=0) < 0 or asked >= len(bank):
            raise BadAdapter(f"{_BANK}: {len(bank)} vectors, and index {asked} is asked for")
        mixed = np.zeros((*self.shape, bank.shape[1]), np.float32)
        for k in range(chosen.shape[-1]):
            mixed += weights[..., k, None].astype(np.float32) * bank[chosen[..., k]]
        return mixed


def _softmax(logits: Array, topk: int) -> tuple[Array, Array]:
    """Return which logits are the largest, and the softmax over those."""
    chosen = np.argsort(-logits, axis=-1, kind="stable")[..., :topk]
    kept = np.take_along_axis(logits, chosen, axis=-1)
    weights = np.exp(kept - kept[..., :1])
    return chosen, weights / weights.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Mixed:
    """ΔW = B A, or its transpose.

    Parameters
    ----------
    A, B
        Mixtures of r × in / length and out / length × r vectors.
    transposed
        The base is stored in × out.
    """

    A: Mix
    B: Mix
    transposed: bool = False

    def make(self) -> LowRank:
        """Mix both factors as float32; vectors run along the weight's sides."""
        A, B = self.A.read(), self.B.read()
        rank = A.shape[0]
        upright = np.ascontiguousarray(B.transpose(0, 2, 1).reshape(-1, rank))
        dW = LowRank(upright, A.reshape(rank, -1))
        return dW.transposed() if self.transposed else dW


FORM = ClosedForm("vblora", among(*_PARTS), read, check, shared=(_BANK,))
