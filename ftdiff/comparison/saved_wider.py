"""Whether a float32 checkpoint holds nothing but bfloat16's values: it was saved from bfloat16."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from ftdiff.comparison.plan import Plan
from ftdiff.comparison.reasons import SAVED_WIDER
from ftdiff.deltas.recipes import Replaced
from ftdiff.errors import attempt
from ftdiff.formats.note import Note
from ftdiff.tensors import Array, LazyTensor, numel

#: Matrices that are looked at, the fewest that tell, and entries of each.
_MATRICES, _FEWEST, _ENTRIES = 8, 3, 1024
#: Distinct values without which a matrix tells nothing: ones and zeros are every dtype's.
_DISTINCT = 64
#: The bits of float32 that bfloat16 has not.
_REST = np.uint32(0xFFFF)


def wider(plan: Plan) -> Iterator[Note]:
    """Yield a note for each side that is so; of whole checkpoints, from a few entries."""
    if plan.tuned is None or plan.tuned.kind != "full" or plan.base is None:
        return
    changes = [change for change in plan.changes if isinstance(change.recipe, Replaced)]
    bases = (change.base for change in changes if change.base is not None)
    tuned = (change.recipe.tensor for change in changes if isinstance(change.recipe, Replaced))
    for side, whose, tensors in (("base", "the base", bases), ("tuned", "the fine-tune", tuned)):
        count = _of_bfloat16(tensors)
        if count >= _FEWEST:
            text = (
                f"{whose} is stored in float32, and what was looked at of {count} matrices are "
                "bfloat16's values: it was saved from bfloat16, and is as precise"
            )
            yield Note(SAVED_WIDER, text, side=side, matrices=count)


def _of_bfloat16(tensors: Iterable[LazyTensor]) -> int:
    """Return how many matrices are of bfloat16's values; 0 where one is not."""
    wide = (one for one in tensors if one.dtype == "F32" and len(one.shape) > 1)
    whole = (one for one in wide if numel(one.shape) >= _ENTRIES and not hasattr(one, "scheme"))
    seen = [_is_of_bfloat16(tensor) for tensor in islice(whole, _MATRICES)]
    return seen.count(True) if False not in seen else 0


def _is_of_bfloat16(tensor: LazyTensor) -> bool | None:
    """Say whether the first entries are; None where they tell nothing."""
    values = attempt("", lambda: _first(tensor))
    if isinstance(values, str) or len(np.unique(values)) < _DISTINCT:
        return None
    return not (values.view(np.uint32) & _REST).any()


def _first(tensor: LazyTensor) -> Array:
    with tensor.window(0, _ENTRIES) as lent:
        return np.array(lent, np.float32)
