"""Which layer of the base each tuned layer is, from how alike they are: in order or in any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ftdiff.tensors import Array

#: Below this mean cosine of sampled rows two layers are strangers; those of independent starts
#: have 0 ± 1/√n.
STRANGER = 0.5
#: From this on a layer whose base layer is taken is a further copy of it, and was not made anew.
COPY = 0.9


@dataclass(frozen=True)
class Match:
    """Where the layers of one stack come from, by their numbers.

    Attributes
    ----------
    base, tuned
        The layers of each side.
    home
        The base's layer by the tuned one that it is.
    copies
        The base's layer by the tuned one that is a further copy of it.
    """

    base: tuple[int, ...]
    tuned: tuple[int, ...]
    home: dict[int, int] = field(default_factory=dict)
    copies: dict[int, int] = field(default_factory=dict)

    @property
    def inserted(self) -> tuple[int, ...]:
        """Tuned layers that are none of the base's."""
        return tuple(t for t in self.tuned if t not in self.home and t not in self.copies)

    @property
    def removed(self) -> tuple[int, ...]:
        """Layers of the base that the fine-tune lacks."""
        held = {*self.home.values()}
        return tuple(b for b in self.base if b not in held)

    @property
    def keeps_numbers(self) -> bool:
        """Whether a number means the same layer on both sides, where both have it."""
        known = {*self.base}
        still = all(t == b for t, b in self.home.items())
        return still and not self.copies and not any(t in known for t in self.inserted)

    @property
    def keeps_order(self) -> bool:
        """Whether the base's layers stand in the base's order."""
        found = [self.home[t] for t in sorted(self.home)]
        return found == sorted(found)


def match(
    base: Sequence[int], tuned: Sequence[int], likeness: Array, same: Array | None = None
) -> Match:
    """Match layers so that they are as alike as can be: in order, unless another order is better.

    Parameters
    ----------
    base, tuned
        The layers' numbers, ascending.
    likeness
        The mean cosine of each tuned layer (row) with each of the base (column).
    same
        Which of them are the same, entry by entry, as far as was read.

    Examples
    --------
    >>> match((0, 1), (0, 1, 2), np.array([[1, 0], [0, 0.2], [0, 1]])).home
    {0: 0, 2: 1}
    """
    exact = np.zeros(likeness.shape, bool) if same is None else same
    worth = np.where((likeness >= STRANGER) | exact, likeness + exact, 0.0)
    pairs = _in_order(worth)
    free = _in_any_order(worth)
    if _total(worth, free) > _total(worth, pairs) + STRANGER:
        pairs = free
    home = {tuned[t]: base[b] for t, b in sorted(pairs)}
    copies = {}
    for t, layer in enumerate(tuned):
        b = int(np.argmax(worth[t])) if len(base) else 0
        if layer not in home and len(base) and (exact[t, b] or likeness[t, b] >= COPY):
            copies[layer] = base[b]
    if [*base] == [*tuned]:  # what is like none stays where it stands, if its place is free
        taken = {*home.values(), *copies}
        home |= {one: one for one in base if one not in home and one not in taken}
    return Match(tuple(base), tuple(tuned), dict(sorted(home.items())), copies)


def _in_order(worth: Array) -> list[tuple[int, int]]:
    """Return the pairs of most worth of which none crosses another."""
    rows, columns = worth.shape
    best = np.zeros((rows + 1, columns + 1))
    for t in range(rows - 1, -1, -1):
        for b in range(columns - 1, -1, -1):
            paired = best[t + 1, b + 1] + worth[t, b] if worth[t, b] else 0.0
            best[t, b] = max(paired, best[t + 1, b], best[t, b + 1])
    pairs, t, b = [], 0, 0
    while t < rows and b < columns:
        if worth[t, b] and best[t, b] == best[t + 1, b + 1] + worth[t, b]:
            pairs.append((t, b))
            t, b = t + 1, b + 1
        elif best[t, b] == best[t + 1, b]:
            t += 1
        else:
            b += 1
    return pairs


def _in_any_order(worth: Array) -> list[tuple[int, int]]:
    """Pair the most alike first: what is alike is so by far."""
    pairs = []
    left = worth.copy()
    while left.any():
        t, b = np.unravel_index(int(np.argmax(left)), left.shape)
        pairs.append((int(t), int(b)))
        left[t, :] = 0.0
        left[:, b] = 0.0
    return pairs


def _total(worth: Array, pairs: Sequence[tuple[int, int]]) -> float:
    return float(sum(worth[t, b] for t, b in pairs))
