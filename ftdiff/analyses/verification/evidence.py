"""What speaks for a replay or against it: unexplained entries, and their projection on ΔW.

The share of entries that differ tells nothing: at a change of 3 % a product in bf16 moves more of
them than a scale of 1.002 does. What a rounding leaves does not point along ΔW, though, and what a
scale or another adapter leaves does, or is larger than any order of roundings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ftdiff.analyses.verification.replay import Formed, Replay, Source
from ftdiff.deltas.moments import Moments

#: Standard errors beyond which a projection is not a rounding's: of one tensor among thousands, and
#: of all of them together.
ONE, ALL = 5.0, 4.0
#: A residual with more than so many times the squares of the furthest replay's is no rounding's.
_SQUARES = 6.0
#: Fewer entries have no size to speak of.
_ENTRIES = 16
_COUNTS = ("unequal", "unexplained", "outside")
_SUMS = ("change_sq", "off_sq", "off_change", "off_change_sq")
#: A scale this near 1 is not told from the rounding of factors, whose errors go along whole rows.
_FACTORS = 1e-4
#: A change that cannot be replayed to the bit has its scale told to this share alone.
_SHARE = 0.01


@dataclass(frozen=True)
class Evidence:
    """Sums over what the best replay leaves, which add over tensors.

    Attributes
    ----------
    numel, unequal, unexplained, outside
        Entries; see `counts.hold`.
    change_sq, off_sq, off_change, off_change_sq
        As there.
    apart, apart_sq
        Of each of `others(way)`, as in `counts.apart`.
    """

    numel: int
    unequal: int
    unexplained: int
    outside: int
    change_sq: float
    off_sq: float
    off_change: float
    off_change_sq: float
    apart: tuple[float, ...] = ()
    apart_sq: tuple[float, ...] = ()

    @classmethod
    def of(cls, held: Moments, apart: Moments | None = None) -> Evidence:
        """Take what two passes gave."""
        sums = {name: expansion[0] for name, expansion in held.sums.items()}
        many = range(0 if apart is None else len(apart.sums) // 2)
        among = {} if apart is None else {n: expansion[0] for n, expansion in apart.sums.items()}
        known: dict[str, Any] = {name: held.counts[name] for name in _COUNTS}
        known |= {name: sums[name] for name in _SUMS}
        return cls(
            numel=held.numel,
            **known,
            apart=tuple(among[f"apart_{i}"] for i in many),
            apart_sq=tuple(among[f"apart_sq_{i}"] for i in many),
        )

    @property
    def projection(self) -> float:
        """⟨merged − replay, ΔW⟩ / ‖ΔW‖²: how much more of ΔW is in the file."""
        return self.off_change / self.change_sq if self.change_sq else 0.0

    @property
    def error(self) -> float:
        """Its standard error, each entry of the residual by itself."""
        return math.sqrt(self.off_change_sq) / self.change_sq if self.change_sq else math.inf

    @property
    def among(self) -> tuple[float, float]:
        """The least and the largest projection of the other replays, and 0.

        Where ΔW is rounded before it is added, less of a small change is left.
        """
        if not self.change_sq:
            return 0.0, 0.0
        known = [0.0, *(x / self.change_sq for x in self.apart)]
        return min(known), max(known)

    def along(self, errors: float, share: float = _FACTORS) -> bool:
        """Say whether the residual points along ΔW beyond what roundings do."""
        least, most = self.among
        beyond = max(errors * self.error, share)
        low, high = min(-beyond, least), max(beyond, most)
        return self.unexplained > 0 and not low <= self.projection <= high

    @property
    def large(self) -> bool:
        """Whether the residual is larger than what any order of roundings leaves."""
        most = max(self.apart_sq, default=math.inf)
        return self.unexplained >= _ENTRIES and self.off_sq > _SQUARES * most

    def rounding(self, to_the_bit: bool = True) -> bool:
        """Say whether the residual is what an order of roundings that is not known may leave."""
        if not to_the_bit:
            return not self.outside and not self.along(ONE, _SHARE)
        return not self.outside and not self.along(ONE) and not self.large


def pooled(rows: Iterable[Evidence]) -> Evidence | None:
    """Add up tensors; None where there are none."""
    found = list(rows)
    if not found:
        return None
    many = max(len(row.apart) for row in found)

    def along(name: str) -> tuple[float, ...]:
        values = [getattr(row, name) for row in found]
        return tuple(math.fsum(v[i] for v in values if i < len(v)) for i in range(many))

    known: dict[str, Any] = {n: sum(getattr(row, n) for row in found) for n in ("numel", *_COUNTS)}
    known |= {name: math.fsum(getattr(row, name) for row in found) for name in _SUMS}
    return Evidence(
        **known,
        apart=along("apart"),
        apart_sq=along("apart_sq"),
    )


def others(way: Replay, factors: bool) -> tuple[Replay, ...]:
    """Return the replays that a residual is held against: ΔW in float32, and made in 16 bits.

    In float16 only where it is on the way: small changes are its subnormal numbers.
    """
    low = "F16" if "F16" in (way.stored, way.working, way.formed.rounded) else "BF16"
    forms = [Formed(), Formed("BF16"), Formed(low)]
    if factors:
        forms.append(Formed("BF16", Source("BF16", "nothing")))
    return tuple(Replay(way.stored, way.working, form, way.times, way.order) for form in forms)
