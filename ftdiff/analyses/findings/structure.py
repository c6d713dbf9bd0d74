"""What kind of change it is, from structure: sentences and thresholds are in `kind_of_change`."""

from __future__ import annotations

from collections.abc import Iterator

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.analyses.kind_of_change import kind_of_change
from ftdiff.comparison.result import Diff


@rule(
    "low-rank",
    kind="context",
    of="diff",
    null="dense changes of eight kinds, also steep ones: never of 20 draws each",
    power="ranks 1 to 16 planted at 5e-3 and 1e-2: 20 of 20 each; at 1e-3 it sinks under rounding",
)
def low_rank(diff: Diff) -> Iterator[Finding]:
    """Say that all of ΔW is of one low rank: a merged LoRA, or a DoRA."""
    yield from _said(diff, "low-rank")


@rule(
    "edited-direction",
    kind="context",
    of="diff",
    null="dense changes, merged LoRA: never of 20 draws each",
    power="λ of 0.3 and 1, norms kept, also with training on top: 20 of 20 each",
)
def edited_direction(diff: Diff) -> Iterator[Finding]:
    """Say that a direction was taken out of what matrices write or read."""
    yield from _said(diff, "edited-direction")


@rule(
    "edited-matrices",
    kind="context",
    of="diff",
    null="what moved is a few matrices alone, which training does not do",
    power="one fact, facts in two layers: 20 of 20 each",
)
def edited_matrices(diff: Diff) -> Iterator[Finding]:
    """Say that a few matrices alone were changed, by a low rank."""
    yield from _said(diff, "edited-matrices")


@rule(
    "edited-lines",
    kind="context",
    of="diff",
    null="what moved is a few rows or columns alone, to the bit",
    power="three tokens, two neurons: 20 of 20 each",
)
def edited_lines(diff: Diff) -> Iterator[Finding]:
    """Say which rows or columns alone were changed: tokens, neurons."""
    yield from _said(diff, "edited-lines")


@rule(
    "small-steps",
    kind="context",
    of="diff",
    null=(
        "steps of one unit in the last place, against those that a dense change of that size makes"
    ),
    power="changes of 1e-3 in bfloat16: 20 of 20",
)
def small_steps(diff: Diff) -> Iterator[Finding]:
    """Say that few entries moved, by steps as small as storage has them."""
    yield from _said(diff, "small-steps")


@rule(
    "tuned-on-rounded",
    kind="context",
    of="diff",
    null="the slope of ΔW on the base's own rounding, which is 0 for a training from the base",
    power="NF4 with and without a LoRA on top, int8 and fp8 with one: 20 of 20 each",
)
def tuned_on_rounded(diff: Diff) -> Iterator[Finding]:
    """Say that ΔW holds the rounding of the base to few bits."""
    yield from _said(diff, "tuned-on-rounded")


@rule(
    "new-zeros",
    kind="context",
    of="diff",
    null="training alone makes next to no new zeros",
    power="2:4, and scattered zeros with training on top: 20 of 20 each",
)
def new_zeros(diff: Diff) -> Iterator[Finding]:
    """Say how many entries are new zeros, and in which pattern."""
    yield from _said(diff, "new-zeros")


def _said(diff: Diff, name: str) -> Iterator[Finding]:
    for one in kind_of_change(diff):
        if one.rule == name:
            yield Finding(name, "note", one.message, evidence(**one.evidence))
