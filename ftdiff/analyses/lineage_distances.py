"""Squared distances between all of several models, from some entries of tensors all over them."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from ftdiff.analyses.pairwise import Line, line_up
from ftdiff.deltas.recipes import Replaced
from ftdiff.errors import FtdiffError, Mismatch
from ftdiff.formats import Checkpoint
from ftdiff.tensors import Array, LazyTensor, is_quantised, numel, precision

#: Tensors that are drawn, and entries that are read of each, from its middle.
_DRAWN, _ENTRIES = 64, 1 << 15


def distances(models: Sequence[Checkpoint]) -> Array | None:
    """Return ‖Wᵢ − Wⱼ‖² over ‖W₀‖², n × n; None where no tensor can be read of all of them."""
    try:
        lineup = line_up(models[0], models[1:], least=1)
    except Mismatch:
        return None
    gram, size = np.zeros((len(models),) * 2), 0.0
    drawn = sorted(lineup.lines, key=lambda line: crc32(line.address.name.encode()))
    read = 0
    for line in drawn:
        tensors = _tensors(line)
        if tensors is None:
            continue
        try:
            W = np.array([_middle(one, numel(line.shape)) for one in tensors])
        except FtdiffError:  # it is said where the candidate is compared
            continue
        W = W[:, np.isfinite(W).all(axis=0)]
        gram += (W - W[0]) @ (W - W[0]).T
        size += float(W[0] @ W[0])
        read += 1
        if read == _DRAWN:
            break
    if not size:
        return None
    lengths = np.diagonal(gram)
    found = np.maximum(lengths[:, None] + lengths[None, :] - 2 * gram, 0.0) / size
    np.fill_diagonal(found, 0.0)
    return found


def _tensors(line: Line) -> list[LazyTensor] | None:
    """Return a line's tensor of every model; None where one has none, or no plain numbers."""
    if line.base is None or line.unknown:
        return None
    found: list[LazyTensor] = [line.base]
    for recipe in line.recipes:
        if recipe is not None and not isinstance(recipe, Replaced):
            return None
        found.append(line.base if recipe is None else recipe.tensor)
    plain = all(precision(one.dtype) is not None and not is_quantised(one) for one in found)
    return found if plain and all(one.shape == line.shape for one in found) else None


def _middle(tensor: LazyTensor, size: int) -> Array:
    start = max(0, (size - _ENTRIES) // 2)
    with tensor.window(start, min(size, start + _ENTRIES)) as values:
        return values.astype(np.float64)
