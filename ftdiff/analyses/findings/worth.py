"""What moved against what it is worth on a text, where a diff was measured on one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.frame import among, records
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED
from ftdiff.errors import one_line

#: Layers under which an even share says nothing.
_FEWEST = 4
_OTHER = {"much": "little", "little": "much"}


@rule(
    "loss-not-lower",
    kind="context",
    of="diff",
    null="none: two losses on one text, both printed",
    power="any difference; that of one text says nothing of another",
)
def loss_not_lower(diff: Diff) -> Iterator[Finding]:
    """Say that the fine-tune is no better on the text, so that shares are of a loss, not a gain."""
    losses = _losses(diff)
    if losses is None or losses[1] < losses[0]:
        return
    base, tuned = losses
    yield Finding(
        "loss-not-lower",
        "caution",
        f"On {_text(diff)} the fine-tune loses {tuned:.4g} nats a token, the base {base:.4g}: "
        "what is told of its worth is of what it costs there. Is this the text it was tuned for?",
        evidence(base=base, tuned=tuned),
    )


@rule(
    "path-gap",
    kind="context",
    of="diff",
    null="the parts add up to the change of loss, but for the nodes between",
    power="gaps of over 1 % of it",
)
def path_gap(diff: Diff, *, share: float = 0.01) -> Iterator[Finding]:
    """Say that the parts of the change of loss do not add up to it."""
    losses, told = _losses(diff), diff.about.get("importance", {})
    if losses is None or losses[0] == losses[1] or "gap" not in told:
        return
    whole, gap = losses[1] - losses[0], float(told["gap"])
    if abs(gap / whole) > share:
        yield Finding(
            "path-gap",
            "caution",
            f"path adds up to {whole + gap:.4g}, and the loss changes by {whole:.4g}: "
            f"{abs(gap / whole):.1%} apart with {counted(int(told.get('nodes', 0)), 'node')}; "
            "measure with more",
            evidence(gap=gap, whole=whole, share=gap / whole, threshold=share),
        )


@rule(
    "matters-little",
    kind="context",
    of="diff",
    null="an even share of the gain for each layer; no test",
    power="a quarter of the even share, or less",
)
def matters_little(diff: Diff, *, share: float = 0.25) -> Iterator[Finding]:
    """Say which layers moved as much as the median layer, and carry next to nothing of the gain."""
    rows, even, middle = _layers(diff)
    few = [r for r in rows if r["relative_norm"] >= middle and r["path_share"] <= share * even]
    if few:
        yield _said("little", few, even, middle, diff)


@rule(
    "matters-much",
    kind="context",
    of="diff",
    null="an even share of the gain for each layer; no test",
    power="twice the even share, or more",
)
def matters_much(diff: Diff, *, times: float = 2.0) -> Iterator[Finding]:
    """Say which layers moved no more than the median layer, and carry much of the gain."""
    rows, even, middle = _layers(diff)
    many = [r for r in rows if r["relative_norm"] <= middle and r["path_share"] >= times * even]
    if many:
        yield _said("much", many, even, middle, diff)


@rule(
    "worth-and-movement",
    kind="context",
    of="diff",
    null="layers in any order: Spearman's p, printed",
    power="said with its p whatever that is, from 4 layers on",
)
def worth_and_movement(diff: Diff) -> Iterator[Finding]:
    """Say how far worth and movement of layers go together."""
    rows, _, _ = _layers(diff)
    columns = [[row[name] for row in rows] for name in ("energy_share", "path_share")]
    if any(len({*values}) < 2 for values in columns):
        return
    from scipy.stats import spearmanr

    found = spearmanr(*columns)
    rho, p = float(found.statistic), float(found.pvalue)
    yield Finding(
        "worth-and-movement",
        "note",
        f"Over {len(rows)} layers, share of the squared change and share of the gain on "
        f"{_text(diff)} correlate at {rho:.2f} (Spearman, p {p:.2g}).",
        evidence(spearman=rho, p=p, layers=len(rows)),
    )


def _said(
    how: str, rows: Sequence[dict[str, Any]], even: float, middle: float, diff: Diff
) -> Finding:
    names = listed([" ".join(filter(None, (r["stack"], str(r["layer"])))) for r in rows], 6)
    one = len(rows) == 1
    who = f"Layer {names} moved {_OTHER[how]} and matters" if one else ""
    who = who or f"Layers {names} moved {_OTHER[how]} and matter"
    message = (
        f"{who} {how} on {_text(diff)}: relative norm "
        f"{_span([row['relative_norm'] for row in rows], '.3g')} (the median layer's is "
        f"{middle:.3g}), and {_span([row['path_share'] for row in rows], '.1%')} "
        f"{'' if one else 'each '}of the gain (an even share is {even:.1%})."
    )
    found = evidence(
        layers=[row["layer"] for row in rows],
        stacks=[row["stack"] for row in rows],
        path_share=[row["path_share"] for row in rows],
        relative_norm=[row["relative_norm"] for row in rows],
        even=even,
        median=middle,
    )
    return Finding(f"matters-{how}", "note", message, found)


def _span(values: Sequence[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def _layers(diff: Diff) -> tuple[list[dict[str, Any]], float, float]:
    """Return layers with both numbers, their even share of the gain, and their median movement."""
    losses = _losses(diff)
    none: tuple[list[dict[str, Any]], float, float] = ([], math.nan, math.nan)
    if losses is None or not losses[1] < losses[0] or "path_share" not in diff.columns:
        return none
    if abs(float(diff.about["importance"].get("gap", 0.0)) / (losses[0] - losses[1])) > 0.1:
        return none
    names = ("path_share", "relative_norm", "energy_share")
    frame = diff.by("stack", "layer", metrics=names).dropna(subset=["layer", *names])
    rows = records(frame)
    if len(rows) < _FEWEST:
        return none
    even = math.fsum(row["path_share"] for row in rows) / len(rows)
    return (rows, even, float(np.median([r["relative_norm"] for r in rows]))) if even > 0 else none


def _losses(diff: Diff) -> tuple[float, float] | None:
    """Return what base and fine-tune lose; None where no text was run, or nothing moved."""
    told = diff.about.get("importance")
    if not told or told.get("loss", {}).get("tuned") is None:
        return None
    if not among(diff.columns["status"], MOVED).any():
        return None
    return float(told["loss"]["base"]), float(told["loss"]["tuned"])


def _text(diff: Diff) -> str:
    return one_line(diff.about["importance"].get("text", {}).get("file", "the text"), 60)
