"""What the page of a similarity, a trajectory, a probe, a drift or a merge says at a glance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ftdiff.analyses.drift import Drift
from ftdiff.analyses.merges import MergeOf
from ftdiff.analyses.probing import Probe
from ftdiff.analyses.similarity import Similarity
from ftdiff.analyses.trajectory import Trajectory
from ftdiff.comparison.frame import records
from ftdiff.errors import one_line
from ftdiff.numbers import number, percent, times
from ftdiff.reports.first_screen import FirstScreen, Headline, Told, chosen

#: A sentence and the numbers that it is of.
Glance: TypeAlias = tuple[str, tuple[Headline, ...]]


def runs_screen(result: Any, title: str) -> FirstScreen:
    """Choose what is seen first: an alarm where there is one, else what was measured, in words.

    Parameters
    ----------
    result
        What is reported.
    title
        What is said where nothing else can be.
    """
    found = result.findings()
    sentence, numbers = _GLANCES[type(result)](result)
    used = [one for one in found if one.severity == "alarm"][:1]
    if not used and not sentence:
        used = found[:1]
    if used:
        verdict = Told(used[0].severity, used[0].message)
    else:
        verdict = Told("note", sentence or f"{title}.")
    return FirstScreen(verdict, chosen(one for one in found if one not in used), numbers)


def _of_similarity(found: Similarity) -> Glance:
    rows = [row for row in records(found.by()) if _known(row["cosine"])]
    count = Headline(f"{len(found.names):,}", "fine-tunes compared, each with each")
    if not rows:
        return "", (count,)
    most = max(rows, key=lambda row: row["cosine"])
    least = min(rows, key=lambda row: row["cosine"])
    pair = f"{one_line(most['a'], 40)} and {one_line(most['b'], 40)}"
    null = most["cosine_null"]
    ratio = abs(most["cosine"]) / null if _known(null) and null > 0 else math.nan
    numbers = [
        Headline(number(most["cosine"], 3), f"cosine of {pair}, the most alike"),
        Headline(times(ratio), "what chance gives", doubtful=not ratio > 3),
        Headline(
            number(least["cosine"], 3),
            f"cosine of {one_line(least['a'], 40)} and {one_line(least['b'], 40)}, the least alike",
        ),
        count,
        Headline(f"{len(found.tensors):,}", "tensors compared"),
    ]
    if len(rows) == 1:
        del numbers[2]
    told = (
        f"{pair} are {'' if len(rows) == 1 else 'most '}alike: cosine {number(most['cosine'], 3)}"
    )
    above = f", {times(ratio)} what chance gives" if _known(ratio) else ""
    return f"{told}{above}.", tuple(numbers)


def _of_trajectory(found: Trajectory) -> Glance:
    count = Headline(f"{len(found.names):,}", "checkpoints of the run")
    rows = records(found.by()) if found.known.any() else []
    if not rows:
        return "", (count,)
    last = rows[-1]
    based = _known(last.get("relative_norm"))
    size = last["relative_norm"] if based else last["displacement"]
    numbers = [
        Headline(number(size, 3), "‖ΔW‖/‖W‖ at the end" if based else "‖ΔW‖ at the end"),
        Headline(percent(last["efficiency"], 2), "of the path led away from the start"),
        Headline(number(last["step_cosine"], 3), "cosine of the last step with the one before"),
        count,
        Headline(f"{len(found.tensors):,}", "tensors followed"),
    ]
    told = f"In {last['step']:,} steps the change grew to {number(size, 3)}"
    told += " of the base's norm" if based else " (‖ΔW‖)"
    if _known(last["efficiency"]) and last["efficiency"] > 0:
        told += f", along a path {times(1 / last['efficiency'])} as long"
    return f"{told}.", tuple(one for one in numbers if not one.value.startswith("–"))


def _of_probe(found: Probe) -> Glance:
    rows = [row for row in records(found.frame) if _known(row["auroc"])]
    if not rows:
        return "", ()
    best = max(rows, key=lambda row: row["auroc"])
    where = f"{best['site']} of layer {best['layer']}, {best['position']}"
    told = f"It is read best from {one_line(where)}: AUROC {number(best['auroc'], 3)}."
    return told, (
        Headline(number(best["auroc"], 3), f"AUROC of {one_line(where)}, the best; chance is 0.5"),
        Headline(f"{len(rows):,}", "cells measured"),
    )


def _of_drift(found: Drift) -> Glance:
    named = {name: value for name, value in found.overall.items() if _known(value)}
    return "", tuple(
        Headline(number(value, 3), f"{name.replace('_', ' ')}, mean over all tokens")
        for name, value in [*named.items()][:6]
    )


def _of_merge(found: MergeOf) -> Glance:
    counts = found.frame["status"].value_counts().to_dict()
    parents = Headline(f"{len(found.about['parents']):,}", "models held against it")
    told = [Headline(f"{int(count):,}", f"tensors: {name}") for name, count in counts.items()]
    return found.sentences[0], (parents, *told[:5])


_GLANCES: Mapping[type, Callable[[Any], Glance]] = {
    Similarity: _of_similarity,
    Trajectory: _of_trajectory,
    Probe: _of_probe,
    Drift: _of_drift,
    MergeOf: _of_merge,
}


def _known(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
