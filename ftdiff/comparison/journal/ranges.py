"""Ranges of tiles: which of those that are kept to take, and what is missing beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def chosen(kept: Sequence[tuple[int, int, T]], count: int) -> list[tuple[int, int, T]]:
    """Return ranges that do not overlap; of two that do, the one that begins first, or is longer.

    >>> chosen([(4, 8, "b"), (0, 6, "a"), (6, 7, "c"), (7, 99, "d")], 8)
    [(0, 6, 'a'), (6, 7, 'c')]
    """
    found: list[tuple[int, int, T]] = []
    end = 0
    for first, last, value in sorted(kept, key=lambda one: (one[0], -one[1])):
        if end <= first < last <= count:
            found.append((first, last, value))
            end = last
    return found


def missing(kept: Sequence[tuple[int, int, T]], count: int) -> list[range]:
    """Return the tiles of `count` that no range has, as ranges; these come as `chosen` gives them.

    >>> missing([(2, 4, None), (4, 5, None)], 7)
    [range(0, 2), range(5, 7)]
    """
    ends = [0, *(last for _, last, _ in kept)]
    starts = [*(first for first, _, _ in kept), count]
    return [range(a, b) for a, b in zip(ends, starts, strict=True) if a < b]
