"""What must not be released: nothing trained, NaN, empty or unreadable tensors, keys unmatched."""

from __future__ import annotations

from collections.abc import Iterator

from ftdiff.adapters.peft.targets import TARGET_MISSING
from ftdiff.analyses.audit.registry import audit_rule, finding, is_adapter, tensors
from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.comparison.reasons import knows_reasons, reasons
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import ADDED, IDENTICAL, MOVED, REMOVED, UNREADABLE


@audit_rule("nothing-moved", "alarm")
def nothing_moved(diff: Diff) -> Iterator[Finding]:
    """An adapter or a checkpoint in which no tensor moved was not trained, or was saved wrongly."""
    frame = diff.frame
    named = frame[frame["status"].isin((IDENTICAL, *MOVED))]
    if not len(named) or named["status"].isin(MOVED).any():
        return
    what = "adapter is dead" if is_adapter(diff) else "fine-tune is the base"
    message = f"The {what}: not one of {counted(len(named), 'tensor')} moved."
    yield finding("nothing-moved", message, named, compared=len(named))


@audit_rule("dead-module", "alarm")
def dead_module(diff: Diff) -> Iterator[Finding]:
    """A module that an adapter targets, and whose ΔW is exactly zero, was not trained."""
    frame = diff.frame
    dead = frame[(frame["status"] == IDENTICAL) & frame["tuned_dtype"].isna()]
    if is_adapter(diff) and len(dead):
        did = "is" if len(dead) == 1 else "are"
        message = f"{tensors(dead, f'{did} named by the adapter, and ΔW is exactly zero')}."
        yield finding("dead-module", message, dead)


@audit_rule("target-missing", "alarm")
def target_missing(diff: Diff) -> Iterator[Finding]:
    """A module that an adapter's configuration targets, and its file lacks, does nothing."""
    for reason in reasons(diff.about, TARGET_MISSING):
        named = reason.get("targets")
        targets = [str(name) for name in named] if isinstance(named, list) else []
        message = f"adapter_config.json targets {listed(targets, 8)}, but the file has no tensor"
        yield finding("target-missing", f"{message} for them.", targets=targets)


@audit_rule("unjudged-notes", "caution")
def unjudged_notes(diff: Diff) -> Iterator[Finding]:
    """What a diff that was saved without codes says of its files in words alone is not judged."""
    notes = [str(note) for note in diff.about.get("notes", ())]
    if notes and not knows_reasons(diff.about):
        message = (
            f"The diff has {counted(len(notes), 'note')} on its files and no codes for them, so "
            f"that no rule judged them: {notes[0]}; compare again."
        )
        yield finding("unjudged-notes", message, notes=notes)


@audit_rule("nonfinite", "alarm")
def nonfinite(diff: Diff) -> Iterator[Finding]:
    """NaN or Inf in tuned weights spreads to every output."""
    frame = diff.frame
    broken = frame[(frame["nonfinite_tuned"] > 0).fillna(False)]
    if len(broken):
        entries = int(broken["nonfinite_tuned"].sum())
        hold = "holds" if len(broken) == 1 else "hold"
        message = f"{tensors(broken, f'{hold} NaN or Inf, in {entries:,} entries')}."
        yield finding("nonfinite", message, broken, entries=entries)


@audit_rule("nonfinite-base", "caution")
def nonfinite_base(diff: Diff) -> Iterator[Finding]:
    """NaN or Inf in the base is left out of every sum."""
    frame = diff.frame
    broken = frame[(frame["nonfinite_base"] > 0).fillna(False)]
    if len(broken):
        message = f"{tensors(broken, 'of the base with NaN or Inf')}."
        yield finding("nonfinite-base", message, broken)


@audit_rule("empty", "alarm")
def empty(diff: Diff) -> Iterator[Finding]:
    """A tensor without entries was saved from a process that held none of it."""
    hollow = diff.frame[(diff.frame["numel"] == 0).fillna(False)]
    if len(hollow):
        message = f"{tensors(hollow, 'without a single entry')}."
        yield finding("empty", message, hollow)


@audit_rule("unreadable", "alarm")
def unreadable(diff: Diff) -> Iterator[Finding]:
    """A tensor that cannot be read cannot be vouched for."""
    reasons = diff.about.get("unreadable", {})
    rows = diff.frame[diff.frame["status"] == UNREADABLE]
    if len(rows):
        first = next(iter(reasons.values()), "")
        message = f"{tensors(rows, 'could not be read')}: {first}."
        yield finding("unreadable", message, rows, reasons=dict(reasons))


@audit_rule("unmatched", "alarm")
def unmatched(diff: Diff) -> Iterator[Finding]:
    """A key of the adapter that leads to no change is ignored by whoever loads it."""
    keys = diff.about.get("unmatched", {})
    if keys:
        named = [str(key) for key in keys]
        message = (
            f"{counted(len(keys), 'key')} of the adapter led to no change ({listed(named)}): "
            f"{next(iter(keys.values()))}."
        )
        yield finding("unmatched", message, keys=dict(keys))


@audit_rule("one-sided", "caution")
def one_sided(diff: Diff) -> Iterator[Finding]:
    """A tensor of one side only was not compared with anything."""
    keys = diff.about.get("unmatched", {})
    for status, side in ((ADDED, "the fine-tune"), (REMOVED, "the base")):
        rows = diff.frame[diff.frame["status"] == status]
        rows = rows[~rows["tensor"].isin(list(keys))]
        if len(rows):
            be = "is" if len(rows) == 1 else "are"
            yield finding("one-sided", f"{tensors(rows, f'{be} in {side} only')}.", rows, side=side)


@audit_rule("duplicate", "caution")
def duplicate(diff: Diff) -> Iterator[Finding]:
    """Two layers with the same change, to the last bit of every sum, are a copy of each other."""
    frame = diff.frame[diff.frame["status"].isin(MOVED)]
    frame = frame[(frame["delta_sq"] > 0).fillna(False) & (frame["numel"] > 1)]
    if frame["delta_abs"].isna().all():
        return
    same = frame.groupby(["component", "param", "numel", "delta_sq", "delta_abs"])["tensor"]
    copies = frame[same.transform("size") > 1]
    if len(copies):
        message = f"{tensors(copies, 'share their change with another, to the last bit')}."
        yield finding("duplicate", message, copies)
