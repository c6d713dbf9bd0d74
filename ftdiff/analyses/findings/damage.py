"""What is broken: not finite, unreadable, or changed in a way that no training changes a tensor.

Each rule has its null in `ftdiff.analyses.damage.kinds`. All are silent of what an unmerged adapter
adds, of vectors under 16 entries and of matrices under 64, whose direction is chance; what is not
finite, unreadable or zeroed is told of any size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftdiff.analyses.damage import ANOTHER, damage_of, is_another_base, kinship, tell
from ftdiff.analyses.finding import Finding, Severity
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.result import Diff

#: Tensors that evidence names at most.
_MOST = 1000


@rule(
    "another-base",
    kind="damage",
    of="diff",
    null="unrelated matrices have a cosine of 1/√entries; heavy fine-tunes stay above 0.96",
    power="as the median over the matrices, exact",
)
def another_base(diff: Diff, *, cosine: float = ANOTHER) -> Iterator[Finding]:
    """Say that a checkpoint was not made from this base: the median cosine of its matrices."""
    found = kinship(diff)
    if found is not None and found.is_another(cosine):
        message = (
            f"This is no fine-tune of the base: the median cosine of {found.matrices:,} weight "
            f"matrices with the base's is {found.cosine:z.3f}, so that no number tells of training."
        )
        numbers = evidence(cosine=found.cosine, matrices=found.matrices)
        yield Finding("another-base", "alarm", message, numbers)


@rule("unreadable", kind="damage", of="diff")
def unreadable(diff: Diff) -> Iterator[Finding]:
    """Say what could not be read."""
    yield from _told(diff, "unreadable")


@rule("nonfinite", kind="damage", of="diff")
def nonfinite(diff: Diff) -> Iterator[Finding]:
    """Say what holds NaN or Inf."""
    yield from _told(diff, "nonfinite")


@rule("nonfinite-base", kind="damage", of="diff")
def nonfinite_base(diff: Diff) -> Iterator[Finding]:
    """Say what holds NaN or Inf in the base alone."""
    yield from _told(diff, "nonfinite-base", "caution")


@rule("zeroed", kind="damage", of="diff")
def zeroed(diff: Diff) -> Iterator[Finding]:
    """Say what is zero in every entry, and was not."""
    yield from _told(diff, "zeroed")


@rule(
    "sign-flipped",
    kind="damage",
    of="diff",
    null="unrelated matrices have a cosine of 1/√entries: −0.9 is no chance",
    power="exact from sums",
)
def sign_flipped(diff: Diff, *, cosine: float = 0.9) -> Iterator[Finding]:
    """Say what points against the base."""
    yield from _told(diff, "sign-flipped", flipped=cosine)


@rule(
    "replaced",
    kind="damage",
    of="diff",
    null="unrelated matrices have a cosine of 1/√entries: under 0.1, where the rest is far above",
    power="exact from sums; a matrix replaced by a near one is not told",
)
def replaced(diff: Diff, *, cosine: float = 0.1) -> Iterator[Finding]:
    """Say what has lost the base's direction, unless the whole checkpoint has."""
    if not is_another_base(diff):
        yield from _told(diff, "replaced", replaced=cosine)


@rule(
    "pruned",
    kind="damage",
    of="diff",
    null="training alone makes next to no new zeros",
    power="exact, from 1 % of new zeros on",
)
def pruned(diff: Diff, *, share: float = 0.01) -> Iterator[Finding]:
    """Say what is the base with entries set to zero."""
    yield from _told(diff, "pruned", "caution", pruned=share)


@rule(
    "multiplied",
    kind="damage",
    of="diff",
    null="training leaves no change that is the base's direction alone",
    power="exact from sums, from 5 % on",
)
def multiplied(diff: Diff, *, change: float = 0.05) -> Iterator[Finding]:
    """Say what is the base times one number that is far from 1."""
    yield from _told(diff, "multiplied", multiplied=change)


@rule(
    "overwritten",
    kind="damage",
    of="diff",
    null="none: 10 times the median matrix, and more than its own norm, is a convention",
    power="exact from sums",
)
def overwritten(diff: Diff, *, times: float = 10.0) -> Iterator[Finding]:
    """Say what moved by more than its norm, where the rest moved little."""
    yield from _told(diff, "overwritten", "caution", overwritten=times)


def _told(
    diff: Diff, kind: str, severity: Severity = "alarm", **limits: float
) -> Iterator[Finding]:
    told = tell(diff, damage_of(diff, **limits), kind)
    if told is None:
        return
    columns = diff.columns
    names: dict[str, Any] = {
        "tensors": [str(name) for name in columns["tensor"][told.rows][:_MOST]]
    }
    places = zip(columns["layer"][told.rows], columns["component"][told.rows], strict=True)
    cells = dict.fromkeys((layer, str(name)) for layer, name in places if layer is not None)
    yield Finding(kind, severity, told.message, evidence(**names, **told.evidence), tuple(cells))
