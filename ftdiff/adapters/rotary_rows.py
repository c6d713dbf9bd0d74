"""Rows of q and k whose rotary halves were interleaved, put back as Hugging Face stores them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.tensors import Array, LazyTensor


@dataclass(frozen=True)
class Halved:
    """A tensor whose rows are, in every head, pairs of halves: (0, h), (1, h + 1), ….

    Parameters
    ----------
    tensor
        Heads · d rows, interleaved.
    heads
        How many heads.

    Notes
    -----
    Rotary embeddings turn pairs of rows. Meta's layout, which torchtune and llama.cpp keep, has
    the two of a pair beside each other; Hugging Face's has them half a head apart.
    """

    tensor: LazyTensor
    heads: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        """The tensor's dtype."""
        return self.tensor.dtype

    @property
    def storage(self) -> Hashable:
        """Nothing is claimed: the bytes are in another order."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows, in Hugging Face's order."""
        whole = self.tensor.read()
        pairs = whole.reshape(self.heads, -1, 2, *self.shape[1:])
        return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(self.shape)[rows]

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend a flat copy."""
        yield self.read().reshape(-1)[start:stop]


def heads(config: Mapping[str, Any], leaf: str, rows: int) -> int | None:
    """Return how many heads the rows of q or k are, from a model's configuration.

    Parameters
    ----------
    config
        `config.json` of the base.
    leaf
        "q_proj" or "k_proj".
    rows
        The rows of the projection; a count that does not divide them is not believed.
    """
    inner = config.get("text_config")
    told: Mapping[str, Any] = inner if isinstance(inner, dict) else config
    count = told.get("num_attention_heads")
    if leaf == "k_proj":
        count = told.get("num_key_value_heads") or count
    if not isinstance(count, int) or isinstance(count, bool) or count < 1 or rows % (2 * count):
        return None
    return count
