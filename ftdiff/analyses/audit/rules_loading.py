"""Would it load? What a loader would not fill from an adapter's file, or would pass over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftdiff.adapters.loading.sentences import LEAVES_OUT, WOULD_NOT_LOAD
from ftdiff.analyses.audit.registry import audit_rule, finding
from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.comparison.reasons import reasons
from ftdiff.comparison.result import Diff


@audit_rule("would-not-load", "alarm")
def would_not_load(diff: Diff) -> Iterator[Finding]:
    """A module that a loader does not fill from the file does nothing, and no loader stops at it."""
    for told in reasons(diff.about, WOULD_NOT_LOAD):
        modules = counted(int(told["of"]), "module")
        message = f"{told['loader']} would load {told['live']} of {modules}: {told['why']}."
        keys = ("loader", "live", "of", "reasons", "found", "expected")
        evidence: dict[str, Any] = {key: told.get(key) for key in keys}
        yield finding("would-not-load", message, modules=told.get("lost", []), **evidence)


@audit_rule("load-leaves-out", "caution")
def load_leaves_out(diff: Diff) -> Iterator[Finding]:
    """A key that a loader passes over is lost without a word."""
    for told in reasons(diff.about, LEAVES_OUT):
        keys = [str(key) for key in told.get("keys", ())]
        message = f"PEFT passes over {counted(len(keys), 'key')} of the file ({listed(keys)})."
        yield finding("load-leaves-out", message, keys=keys)
