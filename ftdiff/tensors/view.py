"""A tensor that shows another one: what all views say of themselves, and what is behind them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ftdiff.tensors.lazy import Array, LazyTensor, read_rows


@dataclass(frozen=True)
class View(ABC):
    """Another tensor, seen otherwise; a subclass says what is lent of it.

    Nothing is read or copied before entries are asked for, and then only what holds them.

    Parameters
    ----------
    tensor
        What is shown.
    """

    tensor: LazyTensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape, where the view says no other."""
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        """The tensor's dtype."""
        return self.tensor.dtype

    @property
    def behind(self) -> LazyTensor:
        """The tensor that is stored."""
        return self.tensor

    @property
    def storage(self) -> Hashable:
        """None, where the view says no other: no run of the tensor's bytes is what it shows."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows."""
        return read_rows(self, rows)

    @abstractmethod
    def window(self, start: int, stop: int) -> AbstractContextManager[Array]:
        """Lend elements `start` to `stop` of what is shown."""


def stored_as(tensor: LazyTensor) -> str:
    """Return how the file stores a tensor: its dtype, or the scheme by which it is quantised.

    >>> import numpy as np
    >>> from ftdiff.tensors import ArrayTensor
    >>> stored_as(ArrayTensor(np.zeros(3, np.float16)))
    'F16'
    """
    whole = _behind(tensor)
    return str(getattr(whole, "scheme", whole.dtype))


def is_quantised(tensor: LazyTensor) -> bool:
    """Say whether values are lent in another dtype than the file's: dequantised."""
    return hasattr(_behind(tensor), "scheme")


def _behind(tensor: LazyTensor) -> LazyTensor:
    while (held := getattr(tensor, "behind", None)) is not None:
        tensor = held
    return tensor
