"""What else explains the numbers: a rescaled base, rounding, and controls that the data denies."""

from __future__ import annotations

from collections.abc import Iterator

from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.frame import records
from ftdiff.comparison.grid import FLOORS, Grid
from ftdiff.comparison.result import MOVED, Diff
from ftdiff.comparison.statuses import COARSE


@rule("scale-control", kind="control", of="diff")
def scale_control(diff: Diff, *, share: float = 0.5) -> Iterator[Finding]:
    """Say where most of the squared change is a uniform rescale of the base."""
    if not diff.about.get("base"):
        return
    frame = diff.by(
        "stack", "component", metrics=("scale", "scale_share", "relative_norm"), param="weight"
    )
    frame = frame[(frame["moved"] > 0) & (frame["scale_share"] > share).fillna(False)]
    for row in records(frame):
        where = f"{row['component']} of the {row['stack']}" if row["stack"] else row["component"]
        message = (
            f"{where}: {row['scale_share']:.0%} of the squared change is one rescale of the "
            f"base, × {row['scale']:.3f}: its relative norm of {row['relative_norm']:.3g} "
            "is mostly length, not direction."
        )
        names = ("component", "stack", "scale", "scale_share", "relative_norm")
        found = evidence(**{name: row[name] for name in names})
        yield Finding("scale-control", "caution", message, found)


@rule("precision-control", kind="control", of="diff")
def precision_control(diff: Diff, *, snr: float = 10.0) -> Iterator[Finding]:
    """Say how many changes do not stand out of the storage dtype's rounding."""
    if "snr" not in diff.frame:
        return
    moved = diff.frame[diff.frame["status"].isin(MOVED) & diff.frame["snr"].notna()]
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
    every = diff.frame[diff.frame["status"].isin(MOVED)]
    coarse = every[every["note"].str.contains(COARSE, regex=False).fillna(False)]
    if len(coarse):
        names = [str(name) for name in coarse["tensor"]]
        message = (
            f"{counted(len(coarse), 'change')} of {len(every):,} may be no more than the rounding "
            f"of a side that is stored quantised: no floor of theirs is known ({listed(names)})."
        )
        found = evidence(tensors=names, of=len(every), quantised=True)
        yield Finding("precision-control", "caution", message, found)


@rule("left-out", kind="control")
def left_out(grid: Grid) -> Iterator[Finding]:
    """Say which cells no pattern was looked for in, and which controls the data does not allow."""
    if grid.drowned:
        message = (
            f"{counted(len(grid.drowned), 'cell')} of {grid.values.size:,}{grid.where} "
            f"{'is' if len(grid.drowned) == 1 else 'are'} under {FLOORS:g} times the rounding "
            "floor: no pattern was looked for there."
        )
        found = evidence(cells=len(grid.drowned), stack=grid.stack)
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
