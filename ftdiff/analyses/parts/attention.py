"""Attention heads: sums of the rows, or of the output projection's columns, that are theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.analyses.parts.layouts import Run, Sizes, runs, settings, sizes, turned
from ftdiff.comparison.plan import Change
from ftdiff.errors import BadCall
from ftdiff.tensors import matrices

_ROLES = ("q", "k", "v", "o", "qkv")


@dataclass(frozen=True)
class Cut:
    """Where the heads of one projection are.

    Attributes
    ----------
    axis
        0 if they are runs of rows as stored, 1 if of columns.
    runs, size
        Role and head of every run in its order; the lines of each.
    heads
        Counts of the whole layer.
    """

    axis: int
    runs: tuple[Run, ...]
    size: int
    heads: Sizes

    def columns(self, prefix: str = "") -> dict[str, list[Any]]:
        """Return what tells the runs apart: role, component, head and kv_head."""
        each = self.heads.query // self.heads.kv
        roles = [prefix + run.role for run in self.runs]
        keyed = [run.role in ("k", "v") for run in self.runs]
        return {
            "role": roles,
            "component": [f"attn.{role}" for role in roles],
            "head": [
                None if shared and each > 1 else run.head
                for run, shared in zip(self.runs, keyed, strict=True)
            ],
            "kv_head": [
                run.head if shared else run.head // each
                for run, shared in zip(self.runs, keyed, strict=True)
            ],
        }


def has_heads(change: Change) -> bool:
    """Say whether a tensor is a projection that has heads; the output's bias has none."""
    address = change.address
    role = address.role.removeprefix("cross_")
    if address.block != "attn" or role not in _ROLES or address.param not in ("weight", "bias"):
        return False
    return role != "o" or len(change.recipe.shape) > 1


def cut(change: Change, config: Mapping[str, Any]) -> Cut:
    """Find the heads of a projection.

    Raises
    ------
    BadCall
        How they lie is not known, with the reason.
    """
    address = change.address
    mine = settings(config, address.stack)
    heads = sizes(mine, address.stack)
    role = address.role.removeprefix("cross_")
    _, rows, columns = matrices(address.name, change.recipe.shape)
    if len(change.recipe.shape) > 2:
        raise BadCall(f"a projection of {len(change.recipe.shape)} axes is not known")
    flipped = len(change.recipe.shape) == 2 and turned(mine, address.module)
    axis = int((role == "o") != flipped)
    found, size = runs(mine, heads, role, address.module, (rows, columns)[axis])
    return Cut(axis, tuple(found), size, heads)


def labels(found: Cut) -> Any:
    """Return the run of every line."""
    return np.repeat(np.arange(len(found.runs)), found.size)
