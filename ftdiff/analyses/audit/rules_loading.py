"""Would it load? What a loader would not fill from an adapter's file, or would pass over."""

from __future__ import annotations

from collections.abc import Iterator

from ftdiff.adapters.loading.sentences import LEAVES_OUT, WOULD_NOT_LOAD
from ftdiff.adapters.loading.targets import texts
from ftdiff.adapters.loading.unfound import unfound
from ftdiff.analyses.audit.registry import audit_rule, finding, is_adapter
from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.comparison.alignment.transformers_names import RENAMED
from ftdiff.comparison.reasons import reasons
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import REMOVED


@audit_rule("would-not-load", "alarm")
def would_not_load(diff: Diff) -> Iterator[Finding]:
    """A module that a loader does not fill from the file does nothing, and the base answers."""
    for told in reasons(diff.about, WOULD_NOT_LOAD):
        keys = ("loader", "live", "of", "reasons", "found", "expected", "lost")
        said = {key: told.get(key) for key in keys}
        message = f"{said['loader']} would load {said['live']} of {said['of']} modules"
        yield finding("would-not-load", f"{message}: {told.get('why')}.", **said)


@audit_rule("load-leaves-out", "caution")
def load_leaves_out(diff: Diff) -> Iterator[Finding]:
    """A key that a loader passes over is lost without a word."""
    for told in reasons(diff.about, LEAVES_OUT):
        keys = texts(told.get("keys"))
        message = f"PEFT passes over {counted(len(keys), 'key')} of the file ({listed(keys)})."
        yield finding("load-leaves-out", message, keys=keys)


@audit_rule("wrapped-names", "alarm")
def wrapped_names(diff: Diff) -> Iterator[Finding]:
    """A model whose names have other words in front is loaded with new weights in their place."""
    if is_adapter(diff):
        return
    sides = diff.about.get("config", {})
    renamed = diff.about.get("renamed", {})
    by_transformers = any(reasons(diff.about, RENAMED))
    rows = diff.frame[diff.frame["status"] != REMOVED]
    held = () if by_transformers else [*map(str, rows["tensor"])]
    names = unfound(renamed, sides.get("base", {}), sides.get("tuned", {}), held)
    if names:
        have = "name is" if len(names) == 1 else "names are"
        message = (
            f"{len(names)} {have} wrapped ({names[0]} for {renamed[names[0]]}): they were matched "
            "without the wrappers, and transformers does not find them, but makes new weights."
        )
        yield finding("wrapped-names", message, names=names)


def absent(diff: Diff) -> frozenset[str]:
    """Return the base's modules that a configuration promises and the file lacks."""
    told = reasons(diff.about, WOULD_NOT_LOAD)
    return frozenset(name for one in told for name in texts(one.get("absent")))
