"""What is not accounted for: keys that change nothing, tensors of one side, low coverage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

import pandas as pd

from ftdiff.analyses.audit.registry import audit_rule, finding, is_adapter, tensors
from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.analyses.layer_map import moved_layers
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import ADDED, REMOVED


@audit_rule("unmatched", "alarm")
def unmatched(diff: Diff) -> Iterator[Finding]:
    """A key or a module of the adapter that changes nothing of the base is lost when it loads."""
    keys = diff.about.get("unmatched", {})
    if keys:
        first = next(iter(keys))
        message = (
            f"{counted(len(keys), 'key')} of the adapter led to no change "
            f"({listed([str(key) for key in keys])}): {keys[first]}{_nearest(diff, str(first))}."
        )
        yield finding("unmatched", message, keys=dict(keys))
    rows = _homeless(diff)
    if len(rows):
        first = str(rows["tensor"].iloc[0])
        be = "is" if len(rows) == 1 else "are"
        lost = tensors(rows, f"that the adapter changes {be} not in the base")
        yield finding("unmatched", f"{lost}{_nearest(diff, first)}.", rows)


@audit_rule("one-sided", "caution")
def one_sided(diff: Diff) -> Iterator[Finding]:
    """A tensor of one side only was not compared with anything."""
    told = [*diff.about.get("unmatched", {}), *_homeless(diff)["tensor"]]
    told += [name for moved in moved_layers(diff) for name in moved.rows["tensor"]]
    for status, side in ((ADDED, "the fine-tune"), (REMOVED, "the base")):
        rows = diff.frame[diff.frame["status"] == status]
        rows = rows[~rows["tensor"].isin(told)]
        if len(rows):
            be = "is" if len(rows) == 1 else "are"
            yield finding("one-sided", f"{tensors(rows, f'{be} in {side} only')}.", rows, side=side)


@audit_rule("mostly-uncompared", "alarm")
def mostly_uncompared(diff: Diff, *, coverage: float = 0.5) -> Iterator[Finding]:
    """Where most parameters have no counterpart, nothing is known of the fine-tune as a whole."""
    share = diff.about.get("coverage")
    if diff.about.get("base") and isinstance(share, (int, float)) and share < coverage:
        message = (
            f"Only {share:.1%} of both sides' parameters have a counterpart, and were compared: "
            "this says nothing of the others."
        )
        message = " ".join([message, *(moved.message for moved in moved_layers(diff))])
        yield finding("mostly-uncompared", message, coverage=float(share))


def unaccounted(diff: Diff) -> frozenset[str]:
    """Return the components that a key without a change may be of; all where one cannot be placed.

    A key is of a component if it has the name of one of its modules, spelled with dots or, as
    kohya's keys are, with underscores.
    """
    keys = [str(key) for key in (*diff.about.get("unmatched", {}), *_homeless(diff)["tensor"])]
    if not keys:
        return frozenset()
    frame = diff.frame[diff.frame["component"].notna() & (diff.frame["status"] != ADDED)]
    modules = frame.groupby("component")["module"].unique()
    found: set[str] = set()
    for key in keys:
        mine = {str(name) for name, spelled in modules.items() if _has(key, map(str, spelled))}
        if not mine:
            return frozenset(map(str, modules.index))
        found |= mine
    return frozenset(found)


def _has(key: str, modules: Iterable[str]) -> bool:
    plain = f".{key}."
    flat = f"_{key.replace('.', '_')}_"
    return any(
        f".{module}." in plain or f"_{module.replace('.', '_')}_" in flat
        for module in modules
        if module
    )


def _homeless(diff: Diff) -> pd.DataFrame:
    """Return what an adapter changes and the base lacks; a saved module of its own is none."""
    frame = diff.frame
    if not is_adapter(diff) or not diff.about.get("base"):
        return frame.iloc[:0]
    stray = frame["tensor"].isin([*diff.about.get("unmatched", {})])
    return frame[(frame["status"] == ADDED) & frame["tuned_dtype"].isna() & ~stray]


def _nearest(diff: Diff, key: str) -> str:
    """Name the base's tensor that shares most words with a key, and is spelled most like it."""
    words = {*key.split(".")} - {"weight", "bias"}
    names = [str(name) for name in diff.frame.loc[diff.frame["status"] != ADDED, "tensor"]]
    shared = [len(words & {*name.split(".")}) for name in names]
    most = max(shared, default=0)
    best = [name for name, count in zip(names, shared, strict=True) if count == most > 0]
    near = max(best, key=lambda name: SequenceMatcher(None, key, name).ratio(), default="")
    return f"; the base has, for example, {near}" if near else ""
