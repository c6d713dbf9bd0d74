"""How much of ΔW is in the file, and which common mistake would have put so much there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ftdiff.analyses.verification.claims import Claim
from ftdiff.analyses.verification.counts import count, hold, sample, weigh
from ftdiff.analyses.verification.evidence import ONE, Evidence
from ftdiff.analyses.verification.products import known_to_the_bit
from ftdiff.analyses.verification.replay import Replay
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import Recipe
from ftdiff.tensors import LazyTensor

#: Estimates of the scale are told apart beyond this share and four standard errors.
_SHARE, _ERRORS = 0.01, 4.0
#: Steps of the search, and the logarithm of a ratio at which it ends.
_STEPS, _CLOSE = 12, 1e-4
#: The share of entries that may be further away, where a scale was estimated.
_STRAY = 1e-3

TWICE = "merged twice"
_SUBTRACTED = "subtracted instead of added"


@dataclass(frozen=True)
class Estimate:
    """How much of ΔW the file holds: `factor` ± `error`."""

    factor: float
    error: float

    def allows(self, factor: float, share: float = _SHARE) -> bool:
        """Say whether the numbers are consistent with this factor, or one that is a share off."""
        return abs(factor - self.factor) <= share * abs(factor) + _ERRORS * self.error


@dataclass(frozen=True)
class Reading:
    """A factor that a known mistake leaves in the file, by a replay of it."""

    name: str
    factor: float
    times: int = 1


def estimate(weighed: Moments, factor: float = 1.0) -> Estimate | None:
    """Estimate the scale from sums over M − W and what a replay with `factor` · ΔW gives.

    Both sides are rounded alike, so that a change which rounding mostly swallows is not read as a
    smaller scale. The error is that of a regression through the origin. None where nothing is due.
    """
    sums = {name: expansion[0] for name, expansion in weighed.sums.items()}
    due = sums.get("due_change", 0.0)
    if not due or not math.isfinite(due):
        return None
    ratio = sums["done_change"] / due
    off = ratio - 1.0
    rest = sums["off_sq"] - 2 * off * sums["off_due"] + off * off * sums["due_sq"]
    error = math.sqrt(max(rest, 0.0) / weighed.numel * sums["change_sq"]) / abs(due)
    return Estimate(factor * ratio, abs(factor) * error)


def fits(recipe: Recipe, held: Moments, evidence: Evidence, factor: float) -> bool:
    """Say whether a replay of `factor` · ΔW leaves no more than roundings do.

    Parameters
    ----------
    recipe, held
        The tensor, and how it was held to the replay.
    evidence
        With what roundings leave of ΔW itself.
    factor
        How much of it was replayed.
    """
    more = max(1.0, factor * factor)
    own = Evidence.of(held)
    own = replace(own, apart_sq=tuple(more * square for square in evidence.apart_sq))
    return own.outside <= _STRAY * own.numel and not (own.large and known_to_the_bit(recipe))


def search(base: LazyTensor, claim: Claim, way: Replay, weighed: Moments) -> Estimate | None:
    """Find the factor whose replay holds as much of ΔW as the file does.

    Parameters
    ----------
    base, claim
        The tensor.
    way
        The replay to go by.
    weighed
        What it gave with the adapter's own scale.
    """
    assert claim.recipe is not None and claim.merged is not None
    whole = weighed.sums["change_sq"][0]
    factor = weighed.sums["done_change"][0] / whole if whole else math.nan
    best, nearest, slope, before = None, math.inf, -1.0, (0.0, 0.0)
    for step in range(_STEPS):
        if not math.isfinite(factor) or not factor:
            break
        found = estimate(weigh(base, claim.recipe, claim.merged, way, factor), factor)
        ratio = 2.0 if found is None else found.factor / factor
        if ratio <= 0:
            break
        here = math.log(abs(factor)), math.log(ratio)
        if found is not None and abs(here[1]) < nearest:
            nearest = abs(here[1])
            best = Estimate(factor, found.error + abs(found.factor - factor))
        if nearest < _CLOSE:
            break
        if step and here[0] != before[0]:  # rounding swallows small changes: steeper than linear
            slope = min(-1.0, (here[1] - before[1]) / (here[0] - before[0]))
        factor, before = factor * math.exp(-here[1] / slope), here
    return best


def readings(claim: Claim) -> tuple[Reading, ...]:
    """Return the mistakes that are told apart by the scale that they leave, for one tensor.

    Where a strength was given, the scale is told against it: twice 0.5 is no merge made twice.
    """
    if claim.given is not None:
        return (Reading(_SUBTRACTED, -1.0),)
    maker = getattr(claim.recipe, "maker", None)
    A, scaling = getattr(maker, "A", None), getattr(maker, "scaling", None)
    known = [Reading(TWICE, 1.0, 2), Reading("merged three times", 1.0, 3)]
    known.append(Reading(_SUBTRACTED, -1.0))
    if A is not None and A.shape and isinstance(scaling, float) and scaling:
        rank = float(A.shape[0])
        if "√" in claim.origin:
            said = "α/r where the adapter says α/√r"
            known.append(Reading(said, 1 / math.sqrt(rank)))
            known.append(Reading("α, not divided by √r", math.sqrt(rank)))
        else:
            known.append(Reading("α/√r where the adapter says α/r", math.sqrt(rank)))
            known.append(Reading("α, not divided by r", rank))
        known.append(Reading("1: the scale was left out", 1 / scaling))
        known.append(Reading("the scale was applied twice", scaling))
    return tuple(r for r in known if abs(r.factor * r.times - 1.0) > _SHARE)


def explained(
    base: LazyTensor, claim: Claim, ways: Sequence[Replay], found: Estimate, evidence: Evidence
) -> tuple[str, ...]:
    """Return the readings whose replay gives the file, the best where one is clearly better."""
    fitting: dict[tuple[float, int], int | None] = {}
    names: dict[str, int] = {}
    for reading in readings(claim):
        if not _possible(reading, found):
            continue
        key = reading.factor, reading.times
        if key not in fitting:
            again = tuple(dict.fromkeys(replace(way, times=reading.times) for way in ways))
            fitting[key] = _unequal(base, claim, again, reading.factor, evidence)
        unequal = fitting[key]
        if unequal is not None:
            names[reading.name] = unequal
    least = min(names.values(), default=0)
    return tuple(name for name, unequal in names.items() if unequal <= 2 * least)


def _possible(reading: Reading, found: Estimate) -> bool:
    """Say whether a reading may leave this scale.

    Roundings in between swallow a part of several small changes: only a replay can tell.
    """
    whole = reading.factor * reading.times
    return found.allows(whole) or (reading.times > 1 and 1.2 < found.factor < 1.1 * whole)


def _unequal(
    base: LazyTensor, claim: Claim, ways: Sequence[Replay], factor: float, evidence: Evidence
) -> int | None:
    """Return how many entries are not the best replay's to the bit; None beyond rounding."""
    assert claim.recipe is not None and claim.merged is not None
    sides = base, claim.recipe, claim.merged
    counts = count(*sides, ways, factor, sample(claim.recipe)).counts
    best = min(range(len(ways)), key=lambda i: counts[f"unequal_{i}"])
    held = hold(*sides, ways[best], factor)
    own = Evidence.of(held)
    if own.along(ONE, _SHARE) or not fits(claim.recipe, held, evidence, factor * ways[best].times):
        return None
    return held.counts["unequal"]
