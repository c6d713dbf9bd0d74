"""Trainable tokens: single rows of an embedding are replaced by the rows that were saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft.closed_forms.lora_factors import times
from ftdiff.deltas.recipes import Rebuilt, Unreadable
from ftdiff.tensors import Array, LazyTensor


def token_rows(module: Module, rows: LazyTensor, field: str = "trainable_token_indices") -> Reading:
    """Return the recipe of an embedding of which single rows were trained.

    Parameters
    ----------
    module
        The embedding.
    rows
        The rows' new values, in the order of the configuration's indices.
    field
        Where the configuration has the indices: a list, or a list for each module's name.
    """
    name = module.target.name(f"{module.path}.weight")
    indices = _indices(module.config.get(field), module.path)
    if indices is None or len(rows.shape) != 2 or len(indices) != rows.shape[0]:
        found = "no list" if indices is None else f"{len(indices)} indices"
        reason = f"{module.path}: {field} has {found} for the {times(rows)} rows of the adapter"
        return Reading({name: Unreadable(rows.shape, reason)})
    base = module.target.find(f"{module.path}.weight")
    if base is not None and (base.shape[1:] != rows.shape[1:] or max(indices) >= base.shape[0]):
        reason = (
            f"{module.path}: {field} up to {max(indices)}, rows {times(rows)}: "
            f"the embedding is {times(base)}"
        )
        return Reading({name: Unreadable(base.shape, reason)})
    shape = base.shape if base is not None else (max(indices) + 1, rows.shape[1])
    needs = f"{module.path}: {len(indices)} rows were replaced by saved ones, not added to"
    rule = TokenRows(rows, indices)
    return Reading({name: Rebuilt(shape, rule, "rows", needs, rowwise=True, saved=rows)})


def _indices(told: Any, path: str) -> tuple[int, ...] | None:
    if isinstance(told, dict):
        ends = (told[key] for key in told if path == key or path.endswith(f".{key}"))
        told = next(ends, None)
    if not isinstance(told, list) or not told:
        return None
    return tuple(told) if all(type(i) is int and i >= 0 for i in told) else None


@dataclass(frozen=True)
class TokenRows:
    """ΔW = saved row − W at the rows that were trained, nothing elsewhere.

    Parameters
    ----------
    saved
        k × columns.
    indices
        The k row numbers, in the order of the saved rows.
    """

    saved: LazyTensor
    indices: tuple[int, ...]

    def make(self, base: LazyTensor) -> TokenRowsRule:
        """Read the rows."""
        return TokenRowsRule(self.saved.read().astype(np.float32), np.array(self.indices))


@dataclass(frozen=True, eq=False)
class TokenRowsRule:
    """The rule of `TokenRows`, its rows read."""

    saved: Array
    indices: Array

    def rows(self, W: Array, start: int) -> Array:
        """Return ΔW for these rows."""
        dW = np.zeros_like(W)
        here = np.flatnonzero((self.indices >= start) & (self.indices < start + len(W)))
        at = self.indices[here] - start
        dW[at] = self.saved[here] - W[at]
        return dW
