"""What kind of change it is, from structure: sentences and thresholds are in `kind_of_change`."""

from __future__ import annotations

from collections.abc import Iterator

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.analyses.kind_of_change import kind_of_change
from ftdiff.comparison.result import Diff


@rule("low-rank", kind="context", of="diff")
def low_rank(diff: Diff) -> Iterator[Finding]:
    """Say that all of ΔW is of one low rank: a merged LoRA, or a DoRA."""
    yield from _said(diff, "low-rank")


@rule("edited-direction", kind="context", of="diff")
def edited_direction(diff: Diff) -> Iterator[Finding]:
    """Say that a direction was taken out of what matrices write or read."""
    yield from _said(diff, "edited-direction")


@rule("edited-matrices", kind="context", of="diff")
def edited_matrices(diff: Diff) -> Iterator[Finding]:
    """Say that a few matrices alone were changed, by a low rank."""
    yield from _said(diff, "edited-matrices")


@rule("edited-lines", kind="context", of="diff")
def edited_lines(diff: Diff) -> Iterator[Finding]:
    """Say which rows or columns alone were changed: tokens, neurons."""
    yield from _said(diff, "edited-lines")


@rule("small-steps", kind="context", of="diff")
def small_steps(diff: Diff) -> Iterator[Finding]:
    """Say that few entries moved, by steps as small as storage has them."""
    yield from _said(diff, "small-steps")


@rule("tuned-on-rounded", kind="context", of="diff")
def tuned_on_rounded(diff: Diff) -> Iterator[Finding]:
    """Say that ΔW holds the rounding of the base to few bits."""
    yield from _said(diff, "tuned-on-rounded")


@rule("new-zeros", kind="context", of="diff")
def new_zeros(diff: Diff) -> Iterator[Finding]:
    """Say how many entries are new zeros, and in which pattern."""
    yield from _said(diff, "new-zeros")


def _said(diff: Diff, name: str) -> Iterator[Finding]:
    for one in kind_of_change(diff):
        if one.rule == name:
            yield Finding(name, "note", one.message, evidence(**one.evidence))
