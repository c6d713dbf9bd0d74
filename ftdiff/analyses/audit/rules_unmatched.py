"""What is not accounted for: keys that change nothing, tensors of one side, low coverage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

import pandas as pd

from ftdiff.analyses.audit.registry import audit_rule, finding, is_adapter, tensors
from ftdiff.analyses.audit.rules_lost import lost_rows
from ftdiff.analyses.audit.rules_saved import saved_modules
from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.analyses.layer_map import moved_layers
from ftdiff.comparison.coverage import words
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import ADDED, REMOVED
from ftdiff.deltas.recipes import NewBias


@audit_rule("unmatched", "alarm")
def unmatched(diff: Diff) -> Iterator[Finding]:
    """A key or a module of the adapter that changes nothing of the base is lost when it loads."""
    lost = _lost(diff)
    if not lost:
        return
    rows = diff.frame[diff.frame["tensor"].isin(lost) & diff.frame["shape"].notna()]
    modules = [*map(str, rows["tensor"])]
    keys = {key: why for key, why in lost.items() if key not in modules}
    said = []
    if modules:
        be = "is" if len(rows) == 1 else "are"
        what = tensors(rows, f"that the adapter changes {be} not in the base")
        said.append(f"{what}: {lost[modules[0]]}{_nearest(diff, modules[0])}.")
    if keys:
        first = next(iter(keys))
        said.append(
            f"{counted(len(keys), 'key')} of the adapter led to no change "
            f"({listed([*keys])}): {keys[first]}{_nearest(diff, first)}."
        )
    yield finding("unmatched", " ".join(said), rows if modules else None, keys=lost)


@audit_rule("one-sided", "caution")
def one_sided(diff: Diff) -> Iterator[Finding]:
    """A tensor of one side only was not compared with anything."""
    if not diff.about.get("base"):
        return  # there is one side alone
    told = [*_lost(diff), *saved_modules(diff)["tensor"]]
    told += [*_new_biases(diff)["tensor"]]
    told += [name for moved in moved_layers(diff) for name in moved.rows["tensor"]]
    told += [*lost_rows(diff)["tensor"]]
    for status, side in ((ADDED, "the fine-tune"), (REMOVED, "the base")):
        rows = diff.frame[diff.frame["status"] == status]
        rows = rows[~rows["tensor"].isin(told)]
        if len(rows):
            be = "is" if len(rows) == 1 else "are"
            yield finding("one-sided", f"{tensors(rows, f'{be} in {side} only')}.", rows, side=side)


@audit_rule("new-biases", "caution")
def new_biases(diff: Diff) -> Iterator[Finding]:
    """A bias that the base's layer lacks acts while the adapter runs, and a merge has no place."""
    rows = _new_biases(diff)
    if len(rows):
        go = "goes" if len(rows) == 1 else "go"
        what = tensors(rows, f"that the base lacks {go} from 0 to the adapter's (lora_bias)")
        yield finding(
            "new-biases", f"{what}: PEFT runs the adapter, and refuses to merge it.", rows
        )


def _new_biases(diff: Diff) -> pd.DataFrame:
    return diff.frame[(diff.frame["form"] == NewBias.form).fillna(False)]


@audit_rule("mostly-uncompared", "alarm")
def mostly_uncompared(diff: Diff, *, coverage: float = 0.5) -> Iterator[Finding]:
    """Where most parameters of a side were not compared, nothing is known of it as a whole."""
    share = diff.about.get("coverage")
    if diff.about.get("selection"):  # it was asked for, and has a rule of its own
        return
    if diff.about.get("base") and isinstance(share, (int, float)) and share < coverage:
        message = f"Only {words(diff.about, 'were compared')}: this says nothing of the others."
        message = " ".join([message, *(moved.message for moved in moved_layers(diff))])
        yield finding("mostly-uncompared", message, coverage=float(share))


def unaccounted(diff: Diff) -> frozenset[str]:
    """Return the components that a key without a change may be of; all where one cannot be placed.

    A key is of a component if it has the name of one of its modules, spelled with dots or, as
    kohya's keys are, with underscores.
    """
    keys = [*_lost(diff)]
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


def _lost(diff: Diff) -> dict[str, str]:
    """Return the keys and the modules that led to no change of the base, with the reasons.

    In a diff that was saved before modules were among its unmatched ones, they are what an adapter
    changes and the base lacks; a saved module of the adapter's own is none.
    """
    found = {str(key): str(why) for key, why in diff.about.get("unmatched", {}).items()}
    if "shares" in diff.about or not is_adapter(diff) or not diff.about.get("base"):
        return found
    frame = diff.frame
    rows = frame[(frame["status"] == ADDED) & frame["tuned_dtype"].isna()]
    told = "no tensor of the base has this name"
    return {**found, **{str(name): told for name in rows["tensor"] if name not in found}}


def _nearest(diff: Diff, key: str) -> str:
    """Name the base's tensor that shares most words with a key, and is spelled most like it."""
    words = {*key.split(".")} - {"weight", "bias"}
    names = [str(name) for name in diff.frame.loc[diff.frame["status"] != ADDED, "tensor"]]
    shared = [len(words & {*name.split(".")}) for name in names]
    most = max(shared, default=0)
    best = [name for name, count in zip(names, shared, strict=True) if count == most > 0]
    near = max(best, key=lambda name: SequenceMatcher(None, key, name).ratio(), default="")
    return f"; the base has, for example, {near}" if near else ""
