"""What a careful colleague would write under the figure: what is broken, then ten lines at most."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.analyses.findings import broken, findings
from ftdiff.analyses.kind_of_change import BESIDE, DECIDING
from ftdiff.comparison import coverage, cut
from ftdiff.comparison.aggregation import that_moved
from ftdiff.comparison.frame import records
from ftdiff.comparison.grid import Grid, grids
from ftdiff.comparison.result import Diff
from ftdiff.comparison.scope import at_scale_one, headline, withheld
from ftdiff.comparison.statuses import ADDED, MOVED, PAIRED, REMOVED, RESHAPED, STILL, UNREADABLE
from ftdiff.errors import one_line
from ftdiff.numbers import number

#: Findings of one kind that a line holds.
_MOST = 3
_DEPTH = (
    *("still-layers", "depth-trend", "depth-peak", "layer-groups", "crossing", "concentrated"),
)


def summary(
    data: Diff | pd.DataFrame,
    found: Sequence[Finding] | None = None,
    metric: str | None = None,
) -> tuple[str, ...]:
    """Say in at most ten lines what was compared, how far it moved, where, and what explains it.

    Where something is broken, one more line before these says so; where a text was run, one more
    says what is lost on it, before and after.

    Parameters
    ----------
    data
        A diff, or a matrix with a row per layer and a column per component.
    found
        What `ftdiff.findings` said of it, where that is at hand.
    metric
        Where patterns were looked for; as in `ftdiff.findings`.
    """
    said = list(findings(data, metric) if found is None else found)
    read = grids(data, metric or _metric_of(data))
    if not isinstance(data, Diff):
        return tuple(_patterns(said, read, None) + _all(said, "left-out"))
    broken_parts = " ".join(one.message for one in broken(said))
    lines = [broken_parts, " ".join([_compared(data), *_all(said, "layers")])]
    if not any(one.rule == "another-base" for one in said):  # of strangers no more is worth a word
        lines += [_overall(data, said), *_patterns(said, read, data), *_explained(data, said)]
    return tuple(line for line in [*lines, _worth(data, said), still(data), lost(data)] if line)


def _compared(diff: Diff) -> str:
    about, status = cut.about_of(diff), diff.frame["status"]
    moved = int(that_moved(diff.columns).sum())
    kind = about.get("kind")
    what = "a full checkpoint" if kind == "full" else f"an adapter ({kind})"
    return (
        f"{about.get('tuned')}, {what}, against {about.get('base') or 'no base'}: "
        f"{coverage.words(about) or 'coverage unknown'}, "
        f"{moved:,} of {counted(int(status.isin(PAIRED).sum()), cut.noun(diff))} "
        "moved."
    )


def _overall(diff: Diff, said: Sequence[Finding]) -> str:
    """What kind of change it is, and how far it moved."""
    return " ".join([*_all(said, *DECIDING, *BESIDE), _size(diff, said)]).strip()


def _size(diff: Diff, said: Sequence[Finding]) -> str:
    regime = _all(said, "regime")
    if regime:
        return " ".join(regime)
    if why := withheld(diff):
        return f"No number of everything is given: {why}."
    if size := headline(diff):
        scaled = "; its factors × 1: no file says their α" if at_scale_one(diff) else ""
        return f"The relative change is {size}{scaled}."
    absolute = headline(diff, "rms_change")
    return f"The root-mean-square change of an entry is {absolute}." if absolute else ""


def _patterns(said: Sequence[Finding], read: Sequence[Grid], diff: Diff | None) -> list[str]:
    """Where: depth, components, what stands apart."""
    lines = [_joined(_all(said, *_DEPTH, "uniform", "depth-power")), _components(read, diff)]
    lines.append(_joined(_all(said, "attention-against-mlp", "contrast", "lift")))
    lines.append(_joined(_all(said, "tensor-apart", "outlier-component", "outlier-layer")))
    return [line for line in lines if line]


def most_and_least(diff: Diff) -> str:
    """Name the components that moved most and least, of each stack."""
    return _components(grids(diff, _metric_of(diff)), diff)


def _metric_of(data: Diff | pd.DataFrame) -> str:
    absolute = isinstance(data, Diff) and not data.about.get("base")
    return "rms_change" if absolute else "relative_norm"


def _components(read: Sequence[Grid], diff: Diff | None) -> str:
    """Name the most and the least of the numbers that the table of components shows."""
    parts = []
    for grid in read:
        sizes = _of_components(grid, diff)
        if len(sizes) > 1 and number(sizes.iloc[-1], 3) != number(sizes.iloc[0], 3):
            which = grid.metric.replace("_", " ")
            most, least = number(sizes.iloc[-1], 3), number(sizes.iloc[0], 3)
            parts.append(
                f"{sizes.index[-1]} moved most{grid.where} ({which} {most}) and "
                f"{sizes.index[0]} least ({least})"
            )
    return f"Of the components in the map, {'; '.join(parts[:_MOST])}." if parts else ""


def _of_components(grid: Grid, diff: Diff | None) -> pd.Series[float]:
    """Return a number for each component, from the least; of a plain matrix its median."""
    names = list(grid.values)
    if diff is None or grid.metric not in diff.frame:
        return grid.values.median().dropna().sort_values()
    frame = diff.by("stack", "component", metrics=(grid.metric,), param="weight")
    frame = frame[(frame["stack"] == grid.stack) & frame["component"].isin(names)]
    sizes = frame.set_index("component")[grid.metric].astype(float).dropna()
    return sizes.sort_values() if len(sizes) else grid.values.median().dropna().sort_values()


def _explained(diff: Diff, said: Sequence[Finding]) -> list[str]:
    """What else explains it: scale, base norm, precision."""
    if not diff.about.get("base"):
        return [_joined(_all(said, "left-out"))]
    faint = _all(said, "few-bits", "precision-control", "left-out")
    scale = _all(said, "scale-control")
    lines = [" ".join([_joined(scale), *_all(said, "norm-control")[:_MOST]]).strip()]
    if faint or "snr" not in diff.frame:
        lines.append(_joined(faint))
    else:
        snr = diff.frame["snr"][diff.frame["status"].isin(MOVED)]
        if len(snr) and snr.notna().all():
            lines.append(
                "Every change stands out of its storage dtype's rounding."
                if diff.about.get("kind") == "full"
                else "Every change would stand out of its rounding in a merge."
            )
    return lines


def _worth(diff: Diff, said: Sequence[Finding]) -> str:
    """What was lost on a text, and which layers that is owed to."""
    told = diff.about.get("importance")
    if not told:
        return ""
    text, loss = told.get("text", {}), told["loss"]
    name = one_line(text.get("file", "the text"), 60)
    base, tuned = loss["base"], loss.get("tuned")
    after = "" if tuned is None else f" → {number(tuned)}"
    lost = f"On {name} the loss is {number(base)}{after} nats a token."
    return " ".join(
        [lost, *_all(said, "loss-not-lower", "path-gap", "matters-much", "matters-little")]
    )


def still(diff: Diff) -> str:
    """Say what did not move; "" where all did."""
    rows = diff.frame[diff.frame["status"].isin(STILL)]
    if not len(rows):
        return ""
    names = [f"{row['part']} ({row['n']})" for row in _sizes(rows)]
    return f"{counted(len(rows), cut.noun(diff))} did not move: {listed(names, 6)}."


def _sizes(rows: pd.DataFrame) -> list[dict[str, object]]:
    param = rows["param"].map(lambda word: "" if word == "weight" else f" {word}")
    sizes = (rows["component"] + param).rename("part").value_counts(sort=True)
    return records(sizes.rename("n").reset_index())


def lost(diff: Diff) -> str:
    """Say what was not compared, or that everything was; of parts, that the rest was not."""
    parts = cut.parts(diff)
    only = f"This is of {parts}; of all else nothing is said." if parts else ""
    frame = diff.frame
    stray = frame["tensor"].isin([*diff.about.get("unmatched", {})]) & (frame["status"] == ADDED)
    status = frame["status"][~stray].value_counts().to_dict()
    lost = [f"{counted(int(stray.sum()), 'part')} of the adapter without a place in the base"]
    lost = lost if stray.any() else []
    lost += [
        f"{int(status[name]):,} {words}"
        for name, words in (
            (UNREADABLE, "could not be read"),
            (ADDED, "in the fine-tune only" if diff.about.get("base") else "of no known change"),
            (REMOVED, "in the base only"),
            (RESHAPED, "of another shape"),
        )
        if status.get(name)
    ]
    if not lost:
        return only or "Every tensor could be read and has its counterpart."
    return f"{only} Not compared, or in part: {', '.join(lost)}.".strip()


def _all(said: Sequence[Finding], *rules: str) -> list[str]:
    """Return the sentences of some rules, in the order of the rules."""
    return [one.message for rule in rules for one in said if one.rule == rule]


def _joined(sentences: Sequence[str]) -> str:
    rest = len(sentences) - _MOST
    more = f" And {rest} more like it." if rest > 0 else ""
    return " ".join(sentences[:_MOST]) + more
