"""Rows of embeddings and heads: the first ones that both have, or the same under other numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np

from ftdiff.comparison.alignment.gathered_rows import GatheredRows, gathered
from ftdiff.comparison.alignment.layer_match import STRANGER
from ftdiff.deltas.forms import Delta, Dense, LowRank
from ftdiff.deltas.recipes import Added, Maker, Recipe, Replaced
from ftdiff.deltas.recipes.recipe import common_rows
from ftdiff.errors import attempt
from ftdiff.formats import Broken
from ftdiff.naming import Address
from ftdiff.tensors import DTYPES, Array, LazyTensor, is_quantised

#: Blocks whose rows are a vocabulary's.
BLOCKS = ("embed", "head")
#: Rows that are looked at, the entries of each, and how many strangers among them ask for more.
_LOOKED, _WIDE, _ODD = 16, 512, 2
#: Rows fewer than this have no order that could be told.
_LEAST = 8
#: Bytes that are hashed at a time.
_RUN = 16 << 20


def first_rows(recipe: Recipe, shape: tuple[int, ...]) -> Recipe | None:
    """Return what of an added change falls on the rows that a vocabulary of this shape has too."""
    rows = common_rows(recipe.shape, shape)
    if rows is None or not isinstance(recipe, Added) or recipe.view is not None:
        return None
    if 2 * rows <= shape[0]:
        return None  # half of a vocabulary is a shard of it
    return replace(recipe, shape=(rows, *shape[1:]), maker=_First(recipe.maker, rows))


@dataclass(frozen=True)
class _First:
    """The first rows of ΔW."""

    maker: Maker
    rows: int

    def make(self) -> Delta:
        """Make all of it, and cut: a product stays one."""
        delta = self.maker.make()
        if isinstance(delta, LowRank):
            return LowRank(delta.B[: self.rows], delta.A, delta.scaling)
        return Dense(delta.rows(0, self.rows))


def reordered(
    address: Address, base: LazyTensor, recipe: Recipe, strangers: Callable[[], bool]
) -> tuple[LazyTensor, Replaced] | None:
    """Return the rows of both sides that belong together, where most stand under other numbers.

    A few rows are looked at; where they are strangers to the base's of their number, all rows of
    both are read, a hash of each is kept, and equal ones are paired. Rows that are in neither
    order stay with those of their number. None where the order is the base's, or cannot be told,
    or where the models are `strangers`: then nothing else is read.
    """
    tuned = recipe.tensor if isinstance(recipe, Replaced) else None
    if tuned is None or address.block not in BLOCKS or address.param != "weight":
        return None
    if not _comparable(base, tuned):
        return None

    def order() -> tuple[Array, Array] | None:
        return _order(base, tuned) if _odd(base, tuned) and not strangers() else None

    found = attempt(address.name, order)
    if found is None or isinstance(found, str):
        return None
    here, there = found
    return gathered(base, here), Replaced(gathered(tuned, there))


def _comparable(base: LazyTensor, tuned: LazyTensor) -> bool:
    if len(base.shape) != 2 or base.shape[1:] != tuned.shape[1:] or not base.shape[1]:
        return False
    if min(base.shape[0], tuned.shape[0]) < _LEAST:
        return False
    sides = (base, tuned)
    if any(isinstance(side, Broken) or is_quantised(side) for side in sides):
        return False
    if any(side.dtype not in DTYPES or DTYPES[side.dtype].kind in "biu" for side in sides):
        return False
    return base.storage is None or base.storage != tuned.storage


def _odd(base: LazyTensor, tuned: LazyTensor) -> bool:
    """Say whether a few rows are strangers to the base's rows of their number."""
    rows, width = min(base.shape[0], tuned.shape[0]), base.shape[1]
    strangers = 0
    for row in np.unique(np.linspace(0, rows - 1, _LOOKED).astype(int)).tolist():
        start, stop = row * width, row * width + min(width, _WIDE)
        with base.window(start, stop) as W, tuned.window(start, stop) as M:
            one, other = W.astype(np.float64), M.astype(np.float64)
        norms = float(np.linalg.norm(one) * np.linalg.norm(other))
        strangers += bool(norms) and float(one @ other) < STRANGER * norms
    return strangers >= _ODD


def _order(base: LazyTensor, tuned: LazyTensor) -> tuple[Array, Array] | None:
    """Pair rows by their bits; return their numbers on both sides, by those of the base."""
    narrow = min((base.dtype, tuned.dtype), key=lambda code: DTYPES[code].itemsize)
    here, there = (_hashes(side, narrow) for side in (base, tuned))
    common = min(len(here), len(there))
    home = np.full(len(there), -1, np.int64)
    at_home = np.flatnonzero(here[:common] == there[:common])
    home[at_home] = at_home
    free: dict[int, list[int]] = defaultdict(list)
    taken = np.zeros(len(here), bool)
    taken[at_home] = True
    for b in np.flatnonzero(~taken)[::-1].tolist():
        free[int(here[b])].append(b)
    lost = np.flatnonzero(home < 0).tolist()
    for t in lost:
        if free[int(there[t])]:
            home[t] = free[int(there[t])].pop()
            taken[home[t]] = True
    elsewhere = int((home[lost] >= 0).sum())
    if elsewhere < max(_ODD, len(lost) / 2):
        return None
    for t in lost:
        if home[t] < 0 and t < len(here) and not taken[t]:
            home[t] = t
            taken[t] = True
    paired = np.flatnonzero(home >= 0)
    paired = paired[np.argsort(home[paired], kind="stable")]
    return home[paired], paired


def _hashes(tensor: LazyTensor, dtype: str) -> Array:
    """Return eight bytes for each row, of its values in a dtype."""
    rows, width = tensor.shape
    step = max(1, _RUN // (8 * width))
    found = np.empty(rows, np.uint64)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        with tensor.window(start * width, stop * width) as flat:
            held = flat.astype(DTYPES[dtype]).reshape(stop - start, width)
        for i, row in enumerate(held):
            digest = blake2b(row.tobytes(), digest_size=8).digest()
            found[start + i] = int.from_bytes(digest, "little")
    return found


def is_reordered(base: LazyTensor | None, recipe: Recipe) -> bool:
    """Say whether rows are held against the base's rows of other numbers."""
    tuned = recipe.tensor if isinstance(recipe, Replaced) else None
    return any(isinstance(side, GatheredRows) for side in (base, tuned))
