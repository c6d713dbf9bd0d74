"""Changes that are opened when they are asked for: a few stay open, of many the last one alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ftdiff.deltas.forms import Delta
from ftdiff.deltas.recipes import Recipe
from ftdiff.deltas.recipes.held import stored
from ftdiff.errors import attempt
from ftdiff.tensors import LazyTensor, numel

#: Bytes of a line's changes, as float32, up to which all stay open.
_HELD = 64 << 20


class Opened(Mapping[int, Delta]):
    """The changes of one line, by fine-tune.

    Parameters
    ----------
    name
        The tensor's.
    recipes, base
        What they are made from.

    Attributes
    ----------
    complaints
        Why one could not be opened; it is then none of the mapping's.
    nonfinite
        Of each that could, how many entries are not finite.
    """

    def __init__(
        self, name: str, recipes: Mapping[int, Recipe], base: LazyTensor | None = None
    ) -> None:
        self._recipes, self._base = recipes, base
        self._held: dict[int, Delta] = {}
        sizes = (4 * numel(tensor.shape) for one in recipes.values() for tensor in stored(one))
        self._all = sum(sizes) <= _HELD
        self.complaints: dict[int, str] = {}
        self.nonfinite: dict[int, int] = {}
        for i in recipes:
            found = attempt(name, partial(self._facts, i))
            if isinstance(found, str):
                self.complaints[i] = found
            else:
                self.nonfinite[i] = found

    def __getitem__(self, index: int) -> Delta:
        if index not in self._held:
            if not self._all:
                self._held.clear()
            self._held[index] = self._recipes[index].delta(self._base)
        return self._held[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self.nonfinite)

    def __len__(self) -> int:
        return len(self.nonfinite)

    def in_order(self) -> Sequence[Delta]:
        """Return them as a sequence."""
        return _InOrder(self)

    def _facts(self, index: int) -> int:
        return self[index].nonfinite()


class _InOrder(Sequence[Any]):
    def __init__(self, opened: Opened) -> None:
        self._opened, self._indices = opened, [*opened]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        return self._opened[self._indices[index]]
