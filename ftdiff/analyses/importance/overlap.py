"""How far two rankings agree on their top, beside chance."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from ftdiff.errors import BadCall


@dataclass(frozen=True)
class Overlap:
    """Two tops held against each other.

    Attributes
    ----------
    jaccard
        Parts in both over parts in one of them.
    chance
        What two tops drawn at random would have, on average.
    p
        How often these would share as many parts.
    top, of
        How many parts a top has, and of how many.
    """

    jaccard: float
    chance: float
    p: float
    top: int
    of: int


def overlap(
    one: Mapping[Hashable, float], other: Mapping[Hashable, float], *, share: float = 0.25
) -> Overlap:
    """Compare the tops of two rankings, over the parts that both have.

    Parameters
    ----------
    one, other
        By part, a number that is the larger the higher it stands.
    share
        Of the parts, how many are the top; one at least.

    Raises
    ------
    BadCall
        They have no parts in common, all parts of one are alike, or the share is none.
    """
    common = [part for part in one if part in other]
    if not common or not 0 < share <= 1:
        raise BadCall("no parts in common, or a share that is none")
    if len(common) > 1 and any(len({of[part] for part in common}) == 1 for of in (one, other)):
        raise BadCall("all parts of one are worth the same: it has no top")
    count = math.ceil(share * len(common))
    tops = [{*sorted(common, key=lambda part: -of[part])[:count]} for of in (one, other)]
    shared = len(tops[0] & tops[1])
    ways = [
        math.comb(count, k) * math.comb(len(common) - count, count - k) for k in range(count + 1)
    ]
    whole = sum(ways)
    chance = sum(way / whole * k / (2 * count - k) for k, way in enumerate(ways))
    p = sum(ways[shared:]) / whole
    return Overlap(shared / (2 * count - shared), chance, p, count, len(common))
