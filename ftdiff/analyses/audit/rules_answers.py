"""What lies in one place and gives two answers: adapters beside models, copies, factors inside."""

from __future__ import annotations

from collections.abc import Iterator

from ftdiff.analyses.audit.registry import audit_rule, finding
from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.comparison.applied_twice import ADAPTER_BESIDE, HELD
from ftdiff.comparison.reasons import reasons
from ftdiff.comparison.result import Diff
from ftdiff.comparison.selected import SELECTION


@audit_rule("applied-twice", "alarm")
def applied_twice(diff: Diff) -> Iterator[Finding]:
    """An adapter beside a model that holds it already is added again when the folder is loaded."""
    for one in reasons(diff.about, ADAPTER_BESIDE):
        if one.get("share", 0.0) >= HELD:
            message = (
                f"{one['unread']} lies beside {one['read']}, which holds it already: loading the "
                f"folder adds it again, for a change of {one['twice']:.4g} instead of "
                f"{one['once']:.4g} over its matrices."
            )
            numbers = {name: one[name] for name in ("share", "once", "twice")}
            yield finding("applied-twice", message, **numbers)


@audit_rule("unmerged", "alarm")
def unmerged(diff: Diff) -> Iterator[Finding]:
    """LoRA factors beside their own weights in one checkpoint: a plain model lacks the change."""
    for one in reasons(diff.about, "unmerged"):
        known = "" if one["scale_known"] else "; no file says their scale"
        message = (
            f"{one['modules']:,} {one['what']} modules ride in the checkpoint, not merged: loaded "
            f"as a plain model, it lacks them{known}."
        )
        yield finding("unmerged", message, modules=one["modules"])


@audit_rule("selection", "caution")
def selection(diff: Diff) -> Iterator[Finding]:
    """Only some tensors were compared: of the others nothing is known, so that nothing passed."""
    for one in reasons(diff.about, SELECTION):
        left = one["of"] - one["tensors"]
        message = (
            f"{left:,} of {one['of']:,} tensors were not selected, and nothing is said of them."
        )
        yield finding("selection", message, tensors=[], selected=one["tensors"], of=one["of"])


@audit_rule("index", "caution")
def index(diff: Diff) -> Iterator[Finding]:
    """A loader reads the shards that an index names, and of them the tensors that it names."""
    for one in reasons(diff.about, "no-index"):
        message = (
            f"A folder holds {one['shards']:,} shards and no index: transformers finds no model "
            "in it."
        )
        yield finding("index", message, shards=one["shards"])
    for one in reasons(diff.about, "unindexed"):
        count = counted(one["tensors"], "tensor")
        message = f"{count} of the shards {'is' if one['tensors'] == 1 else 'are'} not in the index"
        yield finding("index", f"{message}: a loader may leave them out.", count=one["tensors"])


@audit_rule("two-answers", "caution")
def two_answers(diff: Diff) -> Iterator[Finding]:
    """Of two files in one folder, a loader may take the one that was not compared."""
    for one in reasons(diff.about, ADAPTER_BESIDE):
        if not one.get("share", 0.0) >= HELD:
            name = one["unread"] or "an adapter that cannot be read"
            message = (
                f"{name} lies beside {one['read']} and was not compared: loading the folder may "
                "add it."
            )
            yield finding("two-answers", message, read=one["read"], unread=[name])
    for code in ("beside-unread", "index-ignored"):
        for one in reasons(diff.about, code):
            if "unread" not in one:  # saved before the record named the files
                continue
            message = (
                f"{one['read']} was compared, and {listed(one['unread'])} beside it not: they may "
                "hold other weights."
            )
            yield finding("two-answers", message, read=one["read"], unread=one["unread"])
    for one in reasons(diff.about, "model-beside"):
        message = (
            f"{one['read']} was compared; {one['unread']} beside it is the base, by a sample of "
            "every tensor."
        )
        yield finding("two-answers", message, read=one["read"], unread=[one["unread"]])
    for one in reasons(diff.about, "ema-copies"):
        message = (
            f"A file holds {one['tensors']:,} running averages ({one['prefix']}.…) beside "
            f"{one['others']:,} other tensors: two sets of weights, of which a loader takes one."
        )
        yield finding("two-answers", message, prefix=one["prefix"], count=one["tensors"])
    for one in reasons(diff.about, "adapters-below"):
        message = (
            f"Adapters lie in {listed(one['adapters'])} below the folder: its own was compared, "
            "and a loader may take another."
        )
        yield finding("two-answers", message, adapters=one["adapters"])
    for one in reasons(diff.about, "adapter-config-alone"):
        message = (
            f"An adapter_config.json lies beside {one['read']} and no adapter's weights: "
            "transformers looks for them, and does not load the folder."
        )
        yield finding("two-answers", message, read=one["read"])
    for one in reasons(diff.about, "several-adapters"):
        message = f"One file holds several adapters: {listed(one['adapters'])}; one was compared."
        yield finding("two-answers", message, adapters=one["adapters"])
