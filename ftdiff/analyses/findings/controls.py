"""What else explains the numbers: a rescaled base, rounding, and controls that the data denies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ftdiff.analyses.damage import damage_of
from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.blur import blur
from ftdiff.comparison.few_bits import sentence
from ftdiff.comparison.frame import plain, records, rows_at
from ftdiff.comparison.grid import DEEPEST, WIDEST, Grid
from ftdiff.comparison.reasons import FEW_BITS, coarse, has_reason, reasons
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED
from ftdiff.metrics import TRUSTED_SNR

#: A change of one unit in the last place of float32 is no rescale.
_LEAST = 1e-6


@rule(
    "scale-control",
    kind="control",
    of="diff",
    null="a cosine of 0.9: a change without direction has no part along the base worth a half",
    power="exact from sums, from a change of 1e-6 on",
)
def scale_control(diff: Diff, *, share: float = 0.5, cosine: float = 0.9) -> Iterator[Finding]:
    """Say where most of the squared change is a uniform rescale of the base, direction kept.

    What is broken is left out: a tensor that was multiplied is told by itself, and would make a
    rescale of its whole component.
    """
    if not diff.about.get("base"):
        return
    sound = Diff(rows_at(diff.columns, ~damage_of(diff).broken), diff.about)
    names = ("scale", "scale_share", "relative_norm", "cosine")
    groups = plain(sound.grouped("stack", "component", metrics=names, param="weight"))
    moved = [row for row in groups if row["moved"]]
    alike: dict[str, list[dict[str, Any]]] = {}
    for row in moved:
        if any(row[name] is None for name in names):
            continue
        rescaled = row["scale"] > 0 and row["scale_share"] > share and row["cosine"] >= cosine
        if rescaled and row["relative_norm"] >= _LEAST:
            alike.setdefault(_factor(row["scale"]), []).append(row)
    for factor, rows in alike.items():
        yield _rescaled(factor, rows, every=len(rows) == len(moved))


def _rescaled(factor: str, rows: list[dict[str, Any]], *, every: bool) -> Finding:
    """Say it once of all components that one factor explains."""
    names = [
        f"{row['component']} of the {row['stack']}" if row["stack"] else row["component"]
        for row in rows
    ]
    one = len(rows) == 1
    who = f"All {len(rows)} components" if every and not one else listed(names, len(names))
    message = (
        f"{who}: {_span([row['scale_share'] for row in rows], '.0%')} of the squared change is "
        f"one rescale of the base, × {factor}: {'its' if one else 'their'} relative norm of "
        f"{_span([row['relative_norm'] for row in rows], '.3g')} is mostly length, not direction."
    )
    keys = ("component", "stack", "scale", "scale_share", "relative_norm", "cosine")
    numbers = [{name: row[name] for name in keys} for row in rows]
    found = evidence(**(numbers[0] if one else {"rescales": numbers}))
    return Finding("scale-control", "caution", message, found)


def _span(values: list[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low}–{high}"


def _factor(scale: float) -> str:
    """Write a factor near 1 with as many digits as tell it from 1, three at least."""
    off = abs(scale - 1)
    digits = 3 if off >= 0.01 or not off else math.ceil(-math.log10(off)) + 1
    whole, _, part = f"{scale:.{digits}f}".partition(".")
    return f"{whole}.{part.rstrip('0').ljust(3, '0')}"


@rule(
    "precision-control",
    kind="control",
    of="diff",
    null="rounding to nearest, ulp²/12 an entry: under 10 times that it is doubted",
    power="exact from sums; what lies under rounding is not seen by anything",
)
def precision_control(diff: Diff, *, snr: float = TRUSTED_SNR) -> Iterator[Finding]:
    """Say how many changes do not stand out of the storage dtype's rounding."""
    if "snr" not in diff.frame:
        return
    every = diff.frame[diff.frame["status"].isin(MOVED)]
    moved = every[every["snr"].notna() & ~has_reason(every, FEW_BITS)]
    for merging in (False, True):
        mine = moved[moved["tuned_dtype"].isna() == merging]
        faint = mine[mine["snr"] < snr]
        if not len(faint):
            continue
        stored = "/".join(sorted({*faint["tuned_dtype"].fillna(faint["base_dtype"]).dropna()}))
        fate = "would drown if merged into" if merging else "cannot be told from rounding to"
        names = [str(name) for name in faint["tensor"]]
        message = (
            f"{counted(len(faint), 'change')} of {len(mine):,} {fate} {stored}, with a squared "
            f"size under {snr:g} times that of the rounding error ({listed(names)})."
        )
        found = evidence(tensors=names, of=len(mine), snr=snr, dtype=stored, merging=merging)
        cells = tuple(
            (row["layer"], row["component"]) for row in records(faint) if row["layer"] is not None
        )
        yield Finding("precision-control", "caution", message, found, cells)
    hidden = every[coarse(every, diff.about)]
    if len(hidden):
        names = [str(name) for name in hidden["tensor"]]
        floors = hidden["ulp_sq"].notna().all()
        told = (
            ", whose size their precision_floor is" if floors else ": no floor of theirs is known"
        )
        message = (
            f"{counted(len(hidden), 'change')} of {len(every):,} may be no more than the rounding "
            f"of a side that is stored quantised{told} ({listed(names)})."
        )
        found = evidence(tensors=names, of=len(every), quantised=True)
        yield Finding("precision-control", "caution", message, found)
    blurred = blur(diff)
    if blurred is not None:
        found = evidence(
            tensors=blurred.names, of=blurred.of, blur=blurred.share, dtype=blurred.dtype
        )
        yield Finding("precision-control", "note", blurred.sentence, found)


@rule(
    "few-bits",
    kind="control",
    of="diff",
    null="a grid of few bits that fits rows of trained weights by chance: 256 entries at least",
    power="blocks of every matrix that moved by .001 of its norm, in a quarter of its entries",
)
def few_bits(diff: Diff) -> Iterator[Finding]:
    """Say where a merge was onto a base of few bits, whose rounding is in the change."""
    rows = diff.frame[has_reason(diff.frame, FEW_BITS)]
    names = [str(name) for name in rows["tensor"]]
    for one in reasons(diff.about, FEW_BITS):
        data = {name: one[name] for name in ("scheme", "block", "others")}
        found = evidence(tensors=names, **data)
        yield Finding("few-bits", "caution", sentence(one), found)


@rule(
    "left-out",
    kind="control",
    null="none: it says where no test was made",
    power="it names every cell that the tests left out",
)
def left_out(grid: Grid) -> Iterator[Finding]:
    """Say which cells no pattern was looked for in, and which controls the data does not allow."""
    if grid.is_too_large:
        deep = len(grid.values) > DEEPEST
        count, most = (len(grid.values), DEEPEST) if deep else (len(grid.values.columns), WIDEST)
        message = (
            f"{count:,} {'layers' if deep else 'components'}{grid.where} are more than the {most} "
            "among which patterns are looked for: none was."
        )
        found = evidence(
            layers=len(grid.values),
            components=len(grid.values.columns),
            most=most,
            stack=grid.stack,
        )
        yield Finding("left-out", "caution", message, found)
        return
    if grid.drowned:
        message = (
            f"{counted(len(grid.drowned), 'cell')} of {grid.values.size:,}{grid.where} "
            f"{'does' if len(grid.drowned) == 1 else 'do'} not stand out of rounding (snr < "
            f"{TRUSTED_SNR:g}): no pattern was looked for there."
        )
        found = evidence(cells=len(grid.drowned), snr=TRUSTED_SNR, stack=grid.stack)
        yield Finding("left-out", "caution", message, found, grid.drowned)
    if grid.diff is None:
        message = (
            "A plain matrix has no base norms, scale shares or storage precision: the norm, scale "
            "and precision controls and the regime could not be applied."
        )
        yield Finding("left-out", "caution", message, {"controls": ["norm", "scale", "precision"]})
    elif not grid.diff.about.get("base"):
        message = (
            "Without a base there are absolute changes only: the norm, scale and precision "
            "controls and the regime could not be applied."
        )
        yield Finding("left-out", "caution", message, {"controls": ["norm", "scale", "precision"]})
