"""On which rank the moved matrices agree, if on any."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ftdiff.comparison.structure.looks import Seen
from ftdiff.metrics.linalg.tail import Tail

#: The share of the matrices whose spectra tell that must be of low rank, and that must have one of
#: the few commonest ranks. Dense changes have none: of 200 planted ones, of full fine-tunes and of
#: runs of reinforcement learning no matrix but a blurred one was low.
_SHARE, _COMMONEST = 0.8, 4
#: The median fall after the last value that counts, over the fall before it: where a spectrum ends
#: it is 5 and more (planted factors of ranks 2 to 16 at changes of 5e-3 and 1e-2), where one sinks
#: under the rounding 1.1 at most (dense changes whose values fall as i⁻¹, i⁻¹·⁵ and i⁻²).
_CLIFF = 2.0
#: What stands for the fall before the first value: these have falls of 20 at most after it, and
#: factors of rank one at 3e-3 have 47.
_BEFORE = 15.0
#: A matrix may have the others' rank if its own is at least so much of it.
_NEAR = 0.75


@dataclass(frozen=True)
class Ranks:
    """What matrices agree on.

    Attributes
    ----------
    rank
        The commonest.
    low, of
        How many matrices have a low rank, of how many whose spectra tell.
    exact
        How many have the commonest rank of their component.
    by_component
        The commonest rank of each.
    roundings
        2 where the merge began from weights that the base has rounded.
    """

    rank: int
    low: int
    of: int
    exact: int
    by_component: Mapping[str, int] = field(default_factory=dict)
    roundings: int = 1

    def record(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "rank": self.rank, "low": self.low, "of": self.of, "exact": self.exact,
            "by_component": dict(self.by_component), "roundings": self.roundings,
        }  # fmt: skip


def agreed(seen: Sequence[Seen]) -> Ranks | None:
    """Return the rank on which matrices agree; None where they do not, or rounding hides it."""
    sound = [one for one in seen if one.sound]
    blurred = sum(one.blurred for one in seen)
    low = [one for one in sound if one.low]
    if not sound or blurred > len(sound) or len(low) < 0.5 * len(sound):
        return None
    cliffs = sorted(_cliff(one.tail) for one in low if one.tail is not None)
    if cliffs[len(cliffs) // 2] <= _CLIFF:
        return None
    commonest = _commonest(low)
    components = defaultdict(list)
    for one in low:
        components[one.matrix.address.component].append(one)
    usual = {name: _commonest(ones) for name, ones in components.items()}
    given: list[int] = []
    exact = 0
    for one in sound:
        wanted = usual.get(one.matrix.address.component, commonest)
        rank = _rank(one, wanted)
        exact += one.tail is not None and one.tail.rank == min(wanted, *one.tail.shape)
        given += [rank] if rank else []
    few = sum(count for _, count in Counter(given).most_common(_COMMONEST))
    if len(given) < _SHARE * len(sound) or few < _SHARE * len(given):
        return None
    most = Counter(given).most_common(1)[0][0]
    twice = sum(one.tail is not None and one.tail.roundings > 1 for one in low)
    return Ranks(most, len(given), len(sound), exact, usual, 2 if 2 * twice > len(low) else 1)


def _cliff(tail: Tail) -> float:
    """Return how much steeper the spectrum falls after its last value than before it."""
    values = -np.diff(tail.squares[: tail.rank + 1])
    before = values[-2] / values[-1] if tail.rank > 1 and values[-1] > 0 else _BEFORE
    return tail.gap / float(before)


def _rank(one: Seen, wanted: int) -> int:
    """Return the rank of a matrix beside its kin's; 0 where it is not low."""
    assert one.tail is not None
    wanted = min(wanted, *one.tail.shape)
    if one.tail.rank >= _NEAR * wanted and one.tail.allows(wanted):
        return wanted
    return one.tail.rank if one.low else 0


def _commonest(seen: Sequence[Seen]) -> int:
    counts = Counter(one.tail.rank for one in seen if one.tail is not None)
    return counts.most_common(1)[0][0]
