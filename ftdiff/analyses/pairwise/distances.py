"""Inner products of changes whose weights are stored, from the distances between all of them.

2⟨ΔWᵢ, ΔWⱼ⟩ = ‖ΔWᵢ‖² + ‖ΔWⱼ‖² − ‖Wᵢ − Wⱼ‖², and the fused loop takes each distance from the bytes
as they are. For a few fine-tunes that is many times faster than to write their changes out; for
many, the number of pairs outweighs it.
"""

from __future__ import annotations

import math
from contextlib import ExitStack

import numpy as np

from ftdiff import kernels
from ftdiff.analyses.pairwise.alignment import Line
from ftdiff.deltas.recipes import Replaced
from ftdiff.errors import FtdiffError
from ftdiff.tensors import Array, LazyTensor, numel

#: Fine-tunes up to which it pays (`tests/bench/many_rate.py`).
MOST = 16
#: Entries of all tensors that are lent at a time: few enough to be read from a cache for each pair.
_LENT = 1 << 20


def from_distances(line: Line) -> Array | None:
    """Return all inner products, n × n float64, right to about 1e-8 of the norms.

    None where they cannot be had in this way: a change is not stored, there are too many, an entry
    is not finite (and would be left out of some pairs only), or a file cannot be read.
    """
    stored = [recipe.tensor for recipe in line.recipes if isinstance(recipe, Replaced)]
    own = [i for i, recipe in enumerate(line.recipes) if recipe is not None]
    if line.base is None or len(stored) != len(own) or len(stored) > MOST:
        return None
    try:
        distances = _distances([line.base, *stored], numel(line.shape))
    except FtdiffError:  # whoever reads them one by one says which
        return None
    if distances is None:
        return None
    inner = np.zeros((len(line.recipes), len(line.recipes)))
    lengths = distances[0, 1:]
    products = (lengths[:, None] + lengths[None, :] - distances[1:, 1:]) / 2
    inner[np.ix_(own, own)] = products
    return inner


def _distances(tensors: list[LazyTensor], size: int) -> Array | None:
    """Return ‖Wᵢ − Wⱼ‖² of all pairs, added exactly; None where an entry is not finite."""
    count = len(tensors)
    pairs = [(i, j) for i in range(count) for j in range(i) if not _same(tensors[i], tensors[j])]
    parts: dict[tuple[int, int], list[float]] = {pair: [] for pair in pairs}
    step = max(kernels.BLOCK, _LENT // count // kernels.BLOCK * kernels.BLOCK)
    for start in range(0, size, step):
        with ExitStack() as lent:
            stop = min(start + step, size)
            W = [lent.enter_context(tensor.window(start, stop)) for tensor in tensors]
            for i, j in pairs:
                floats, counts = kernels.sums(W[j], W[i], tensors[j].dtype, tensors[i].dtype)
                if counts[:, 2:].any():
                    return None
                parts[i, j] += floats[:, 2].tolist()
    distances = np.zeros((count, count))
    for (i, j), values in parts.items():
        distances[i, j] = distances[j, i] = math.fsum(values)
    return distances if np.isfinite(distances).all() else None


def _same(a: LazyTensor, b: LazyTensor) -> bool:
    return a.storage is not None and a.storage == b.storage and a.dtype == b.dtype
