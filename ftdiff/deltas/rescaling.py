"""What of a change is left beside a rescaling of the base: ‖W₁ − c* W‖², which cancels in sums.

The sums of one pass carry rounding of 1e-8 of ‖W‖², and so does ‖ΔW‖² − (c* − 1)² ‖W‖². Where next
to nothing is left beside the rescaling, that is dust, and a second pass over W₁ − c* W, c* from the
first, measures it. A group's follows from its tensors': each turned by itself, and each was
rescaled by another factor than the group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ftdiff.deltas.moments import Moments, exact

#: A second pass is made where a smaller share of ‖ΔW‖² than this is left beside the rescaling.
LEAST = 1e-4


def stretch(sums: Moments) -> float | None:
    """Return c* − 1 where hardly anything else moved; None where one pass tells well enough.

    That is as well where nothing moved, the base is zero or unknown, or an entry is not finite.
    """
    if any(sums.counts.get(name) for name in ("nonfinite_base", "nonfinite_tuned")):
        return None
    try:
        base_sq, delta_sq, inner = (sums.sums[n][0] for n in ("base_sq", "delta_sq", "inner"))
    except KeyError:
        return None
    if not (0 < base_sq < math.inf and 0 < delta_sq < math.inf and math.isfinite(inner)):
        return None
    factor = inner / base_sq
    return factor if delta_sq - factor * inner < LEAST * delta_sq else None


def settled(first: Moments, second: Moments) -> Moments:
    """Return a tensor's sums with what the second pass found.

    Parameters
    ----------
    first
        The sums of the change.
    second
        Those of R = ΔW − x W, x what `stretch` made of the first: ‖R‖² and ⟨W, R⟩.

    Notes
    -----
    ⟨W, R⟩ is by how much ⟨W, ΔW⟩ was off, in units of the ‖W‖² that x was taken with; the part of R
    along W is no turn. Both are corrections in the last digits of the first pass.
    """
    base_sq, along, rest = first.sums["base_sq"][0], second.sums["inner"], second.sums["delta_sq"]
    left = exact((*rest, -along[0] * (along[0] / base_sq)))[0]
    inner = exact((*first.sums["inner"], *along))[0]
    return first.replacing(inner=inner, turned_sq=max(left, 0.0))


def turned_sq(
    base_sq: Sequence[float],
    inner: Sequence[float],
    delta_sq: Sequence[float],
    turned: Sequence[float | None],
) -> float | None:
    """Return ‖W₁ − c* W‖² of several tensors, c* that of all of them: the same bits in any order.

    Parameters
    ----------
    base_sq, inner, delta_sq
        ‖W‖², ⟨W, ΔW⟩ and ‖ΔW‖² of each.
    turned
        What a second pass gave of each; None where there was none, which the sums stand for.

    Returns
    -------
    float or None
        Σ (‖W₁ − c W‖² + (c − c*)² ‖W‖²); None where no tensor had a second pass.

    Examples
    --------
    >>> turned_sq([1.0, 1.0], [0.5, 0.25], [0.25, 0.0625], [0.0, None])
    0.03125
    """
    if all(value is None for value in turned):
        return None
    whole = math.fsum(base_sq)
    factor = math.fsum(inner) / whole if whole else 0.0
    terms: list[float] = []
    for size, along, moved, left in zip(base_sq, inner, delta_sq, turned, strict=True):
        own = along / size if size else 0.0
        terms.append(max(moved - own * along, 0.0) if left is None else left)
        terms.append((own - factor) ** 2 * size)
    return math.fsum(terms)
