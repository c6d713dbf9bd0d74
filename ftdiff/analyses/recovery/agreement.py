"""What the moved matrices agree on: one rank, or one for each module, or that it is not low."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ftdiff.analyses.recovery.matrix import BLURRED, FULL, LOW, ROUNDED, Seen
from ftdiff.metrics.linalg.tail import CLIFF

#: The share of moved matrices that must be of low rank, and that must have one of few ranks.
_SHARE, _RANKS = 0.8, 4
#: A matrix keeps its own rank where it is under this share of what the others have.
_OWN = 0.75


@dataclass(frozen=True)
class Agreement:
    """What the matrices say together.

    Attributes
    ----------
    verdict
        "lora", "blurred", "not_low_rank" or "unmoved".
    rank
        Of most matrices; of a blurred change, what it is at least.
    ranks
        Of every matrix that an adapter would hold, by its name.
    roundings
        1, or 2 where most matrices are of low rank against two roundings alone.
    scaled
        Each row of the base was scaled, and nothing was added.
    low, count
        How many matrices are of low rank, of how many that moved by more than rounding.
    """

    verdict: str
    rank: int = 0
    ranks: Mapping[str, int] = field(default_factory=dict)
    low: int = 0
    count: int = 0
    roundings: int = 1
    scaled: bool = False


def agreed(seen: Sequence[Seen]) -> Agreement:
    """Reach a verdict on plain factors."""
    evidence = [one for one in seen if one.kind in (LOW, FULL)]
    blurred = [one for one in seen if one.kind in (BLURRED, ROUNDED)]
    if not evidence and not blurred:
        return Agreement("unmoved")
    if len(blurred) > len(evidence):
        least = max((one.tail.above for one in blurred if one.tail is not None), default=0)
        return Agreement("blurred", least, count=len(evidence) + len(blurred))
    ends = [one.tail.cliff > CLIFF for one in evidence if one.kind == LOW and one.tail is not None]
    if sum(ends) * 2 < len(ends):
        return Agreement("not_low_rank", low=sum(ends), count=len(evidence))
    common = _common(one for one in evidence if one.kind == LOW)
    of_module = _by_module(evidence)
    ranks = {}
    for one in evidence + [one for one in blurred if one.kind == BLURRED]:
        found = _rank(one, (of_module.get(one.pair.address.module, common), common))
        if found:
            ranks[one.pair.name] = found
    low = sum(one.pair.name in ranks for one in evidence)
    few = sum(many for _, many in Counter(ranks.values()).most_common(_RANKS))
    if low < _SHARE * len(evidence) or few < _SHARE * len(ranks):
        return Agreement("not_low_rank", low=low, count=len(evidence))
    most = Counter(ranks.values()).most_common(1)[0][0]
    twice = sum(one.tail.roundings > 1 for one in evidence if one.tail is not None)
    roundings = 2 if 2 * twice > len(evidence) else 1
    return Agreement("lora", most, ranks, low, len(evidence), roundings)


def _rank(one: Seen, candidates: Iterable[int]) -> int:
    """Return the rank that a matrix has beside the others; 0 where it is not low."""
    assert one.tail is not None
    own = one.tail.rank
    for rank in candidates:
        near = own >= _OWN * min(rank, *one.tail.shape) or one.kind == BLURRED
        if rank and near and one.tail.allows(rank):
            return min(rank, *one.tail.shape)
    return own if one.kind == LOW else 0


def _common(seen: Iterable[Seen]) -> int:
    counts = Counter(one.tail.rank for one in seen if one.tail is not None)
    return counts.most_common(1)[0][0] if counts else 0


def _by_module(seen: Iterable[Seen]) -> dict[str, int]:
    """Return the commonest rank of each module, such as self_attn.q_proj, over the layers."""
    modules = defaultdict(list)
    for one in seen:
        if one.kind == LOW:
            modules[one.pair.address.module].append(one)
    return {module: _common(ones) for module, ones in modules.items()}
