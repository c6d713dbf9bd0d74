"""What no single tensor shows and all of them together do: a scale, or another adapter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ftdiff.analyses.verification.claims import Claim
from ftdiff.analyses.verification.counts import count, sample
from ftdiff.analyses.verification.evidence import ALL, Evidence, pooled
from ftdiff.analyses.verification.merged_tensor import Row, best, row, ways_of
from ftdiff.analyses.verification.replay import FLOATS, Formed
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import Beside, Replaced, Unreadable
from ftdiff.errors import attempt
from ftdiff.formats import Broken, Quantised

#: Targets that the file's order of operations is chosen by.
_SAMPLE = 8
#: Fewer entries along ΔW are no evidence.
_ENTRIES = 16


def common_way(claims: Sequence[Claim]) -> tuple[str, Formed, str] | None:
    """Return how most of the file was merged, by the middle of a few targets.

    None where the likeliest order explains all of them.
    """
    plain = [claim for claim in claims if _plain(claim)]
    chosen = plain[:: max(1, len(plain) // _SAMPLE)][:_SAMPLE]
    dtypes = Counter((c.base.dtype, c.merged.dtype) for c in chosen if c.base and c.merged)
    if not dtypes:
        return None
    common = dtypes.most_common(1)[0][0]
    totals: dict[tuple[Any, ...], Moments] = {}
    for claim in chosen:
        base, recipe, merged = claim.base, claim.recipe, claim.merged
        assert base is not None and recipe is not None and merged is not None
        if (base.dtype, merged.dtype) != common:
            continue
        ways = ways_of(base, recipe, merged)
        span = sample(recipe)
        first = attempt("", lambda: count(base, recipe, merged, ways[:1], span=span))  # noqa: B023
        if isinstance(first, str) or not first.counts["unequal_0"]:
            continue
        totals[ways] = totals.get(ways, Moments()) + count(base, recipe, merged, ways, span=span)
    if not totals:
        return None
    ways = max(totals, key=lambda ways: totals[ways].numel)
    return ways[best(ways, totals[ways])].way


def _plain(claim: Claim) -> bool:
    """Say whether a claim is of a sum that can be replayed."""
    base, recipe, merged = claim.base, claim.recipe, claim.merged
    if base is None or recipe is None or merged is None:
        return False
    if isinstance(recipe, Replaced | Beside | Unreadable):
        return False
    if any(isinstance(side, Quantised | Broken) for side in (base, merged)):
        return False
    same = base.shape == recipe.shape == merged.shape
    return same and base.dtype in FLOATS and merged.dtype in FLOATS


def settle(rows: Sequence[Row]) -> tuple[list[Row], dict[str, Any]]:
    """Judge the targets together: what their replays leave, and where it points.

    Returns
    -------
    list of Row
        The rows; those that are within rounding each by itself, and not together, are wrong.
    dict
        Entries and `unexplained` ones of the targets, and the `projection` of what is left on ΔW
        with its standard `error`; empty where nothing is left.
    """
    good = [r for r in rows if r["status"] in ("equal", "rounding") and "evidence" in r]
    whole = pooled(r["evidence"] for r in good)
    if whole is None or not whole.unexplained:
        return list(rows), {}
    told = {
        "entries": whole.numel,
        "unexplained": whole.unexplained,
        "projection": whole.projection,
        "error": whole.error,
    }
    wrong = _wrong(whole)
    if wrong is None:
        return list(rows), told
    return [{**r, **wrong} if _open(r) else r for r in rows], told


def _wrong(whole: Evidence) -> Row | None:
    """Return what is wrong with all targets together."""
    if whole.unexplained >= _ENTRIES and whole.along(ALL):
        scale = 1 + whole.projection
        said = f"of all targets together: {scale:.5g} · ΔW, where rounding leaves ± "
        said += f"{whole.error:.1g}"
        return row("scaled", said, scale=scale, scale_error=whole.error, readings=())
    if whole.large:
        said = "of all targets together: what is left is larger than any order of roundings leaves"
        return row("unexplained", said)
    return None


def _open(found: Mapping[str, Any]) -> bool:
    evidence = found.get("evidence")
    return found["status"] == "rounding" and evidence is not None and evidence.unexplained > 0
