"""What must not be released: nothing trained, and tensors that are broken, empty or unreadable."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ftdiff.adapters.peft.targets import TARGET_MISSING
from ftdiff.analyses.audit.registry import audit_rule, finding, is_adapter, tensors
from ftdiff.analyses.damage import damage_of, is_another_base, tell
from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.analyses.layer_map import moved_layers
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
    if any(moved_layers(diff)):
        return  # its layers are not the base's
    others = frame[frame["status"].isin((UNREADABLE, ADDED, REMOVED))]
    if len(others):
        if others["numel"].sum() >= named["numel"].sum():
            return  # nothing is known of most
        of = counted(len(named), "tensor")
        message = f"Of the {of} that could be compared, not one moved."
    else:
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
    yield from _of_kind(diff, "nonfinite")


@audit_rule("nonfinite-base", "caution")
def nonfinite_base(diff: Diff) -> Iterator[Finding]:
    """A base tensor with NaN or Inf has no change that could be measured."""
    yield from _of_kind(diff, "nonfinite-base")


@audit_rule("zeroed", "alarm")
def zeroed(diff: Diff) -> Iterator[Finding]:
    """A tensor of zeros, where the base has none, was never written."""
    yield from _of_kind(diff, "zeroed")


@audit_rule(
    "sign-flipped",
    "alarm",
    null="unrelated matrices have a cosine of 1/√entries: −0.9 is no chance",
    power="exact from sums",
)
def sign_flipped(diff: Diff) -> Iterator[Finding]:
    """A tensor that points against the base was subtracted, or added with a negative weight."""
    yield from _of_kind(diff, "sign-flipped")


@audit_rule(
    "replaced",
    "alarm",
    null="unrelated matrices have a cosine of 1/√entries: under 0.1, where the rest is far above",
    power="exact from sums; a matrix replaced by a near one is not told",
)
def replaced(diff: Diff) -> Iterator[Finding]:
    """A matrix without anything of the base's direction was initialised anew when it was loaded."""
    if not is_another_base(diff):
        yield from _of_kind(diff, "replaced")


@audit_rule(
    "pruned",
    "caution",
    null="training alone makes next to no new zeros",
    power="exact, from 1 % of new zeros on",
)
def pruned(diff: Diff) -> Iterator[Finding]:
    """A tensor with new zeros, and otherwise the base's, was pruned and not trained."""
    yield from _of_kind(diff, "pruned")


@audit_rule(
    "multiplied",
    "alarm",
    null="training leaves no change that is the base's direction alone",
    power="exact from sums, from 5 % on",
)
def multiplied(diff: Diff) -> Iterator[Finding]:
    """A tensor that is the base's times one number was scaled by mistake, or by a conversion."""
    yield from _of_kind(diff, "multiplied")


@audit_rule(
    "overwritten",
    "caution",
    null="none: 10 times the median matrix, and more than its own norm, is a convention",
    power="exact from sums",
)
def overwritten(diff: Diff) -> Iterator[Finding]:
    """A matrix that moved by more than its norm, where the rest moved little, was fitted anew."""
    yield from _of_kind(diff, "overwritten")


def _of_kind(diff: Diff, kind: str) -> Iterator[Finding]:
    told = tell(diff, damage_of(diff), kind)
    if told is not None:
        yield finding(kind, told.message, diff.frame.iloc[told.rows], **told.evidence)


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
    yield from _of_kind(diff, "unreadable")


#: Sums that follow from a change alone, and those that tell one base from another.
_OF_CHANGE = ("delta_sq", "delta_abs", "delta_max", "unequal")
_OF_BASE = ("base_sq", "base_abs")
#: (Σ|ΔW|)² over n · ΣΔW²: 1 where each entry moved by the same step, which any two tensors may.
_EVEN = 1 - 1e-6


@audit_rule(
    "duplicate",
    "caution",
    null="changes that are not copies differ in the last bits of four sums",
    power="exact from sums",
)
def duplicate(diff: Diff) -> Iterator[Finding]:
    """Two matrices whose changes have the same sums, to the last bit, may be copies of a layer."""
    frame = diff.frame[diff.frame["status"].isin(MOVED)]
    matrix = frame["shape"].map(lambda shape: shape is not None and len(shape) == 2).astype(bool)
    even = frame["delta_abs"] ** 2 >= _EVEN * frame["numel"] * frame["delta_sq"]
    frame = frame[matrix & (frame["delta_abs"] > 0).fillna(False) & ~even.fillna(False)]
    alike = ["component", "param", "shape", *_OF_CHANGE]
    based = [*alike, *_OF_BASE]
    # the signs of a change show in its inner product, but only between two of the same base
    whole, own, same = (_many(frame, keys) for keys in (alike, based, [*based, "inner"]))
    copies = frame[(whole - own) + (same - 1) > 0]
    if len(copies):
        message = f"{tensors(copies, 'have the same sums of change as another, to the last bit')}."
        yield finding("duplicate", message, copies)


def _many(frame: pd.DataFrame, keys: list[str]) -> pd.Series[int]:
    """Return for each row how many agree with it in these columns."""
    return frame.groupby(keys, dropna=False)["tensor"].transform("size").astype(int)
