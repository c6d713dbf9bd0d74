"""What windows hold while they are read, from what is known of tensors before: bytes of memory."""

from __future__ import annotations

from typing import Any

from ftdiff.deltas.recipes import TILE, Replaced
from ftdiff.deltas.recipes.held import stored
from ftdiff.tensors import FileTensor, nbytes, numel
from ftdiff.tensors.files import COPIED

#: Bytes of each entry while it is made of codes.
_MADE = 36
#: The least that reading two tensors side by side holds: a run of each that is copied.
LEAST = 2 * COPIED


def made(*things: Any) -> int:
    """Return what a tile of tensors holds whose values are made from codes or fetched.

    Parameters
    ----------
    *things
        Tensors, recipes, or what has them in its fields. Of the rest, which most are, it is 0:
        pages of a file are no memory of ours.
    """
    sides = [one.tensor if type(one) is Replaced else one for one in things]
    if all(type(side) is FileTensor and side.source.is_local for side in sides):
        return 0
    found = 0
    for tensor in stored(tuple(things)):
        row = numel(tensor.shape[1:]) if tensor.shape else 1
        if hasattr(tensor, "scheme"):
            found += _MADE * max(TILE, row)
        elif isinstance(tensor, FileTensor) and not tensor.source.is_local:
            found += 2 * TILE * -(-nbytes(tensor) // max(1, numel(tensor.shape)))
    return found


def window(*things: Any) -> int:
    """Return the least that reading these side by side holds."""
    return LEAST + made(*things)
