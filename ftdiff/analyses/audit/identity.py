"""When two findings are the same one: one rule that names the same things, whatever its numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ftdiff.analyses.finding import SEVERITIES, Finding


@dataclass(frozen=True)
class Identity:
    """What a finding is of.

    Attributes
    ----------
    rule
        The rule that speaks.
    things
        All that it names: tensors, cells of the heatmap, keys, files, an expectation. Its numbers
        are no part of it, nor the places where base and fine-tune lie on this machine.
    unnamed
        How many tensors it is of beside those that its evidence names.
    """

    rule: str
    things: frozenset[str]
    unnamed: int = 0

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits, the same for the same finding in another run or place."""
        told = json.dumps([self.rule, sorted(self.things), self.unnamed])
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    def within(self, other: Identity) -> bool:
        """Say whether another finding of this rule names all that this one does."""
        same = self.rule == other.rule
        return same and self.things <= other.things and self.unnamed <= other.unnamed


def identity(one: Finding, about: Mapping[str, Any]) -> Identity:
    """Return what a finding is of; `about` names the two sides.

    >>> named = {"snr": 0.3, "tensors": ["k", "q"], "given": "/home/me/base"}
    >>> sorted(identity(Finding("x", "note", "…", named), {"base": "/home/me/base"}).things)
    ['k', 'q']
    """
    cells = (f"layer {layer}, {component}" for layer, component in one.cells)
    sides = {str(about.get(side)) for side in ("base", "tuned")}
    more = one.evidence.get("more", 0)
    return Identity(
        one.rule,
        frozenset({*_texts([*one.evidence.values()]), *cells} - sides),
        more if type(more) is int else 0,
    )


@dataclass(frozen=True)
class Baseline:
    """What an earlier audit found: for each finding its severity, and what it is of."""

    found: tuple[tuple[int, Identity], ...]

    @classmethod
    def of(cls, findings: Iterable[Finding], about: Mapping[str, Any]) -> Baseline:
        """Take the findings of an audit of what `about` names."""
        return cls(
            tuple((SEVERITIES.index(one.severity), identity(one, about)) for one in findings)
        )

    def knows(self, one: Finding, about: Mapping[str, Any]) -> bool:
        """Say whether one as grave or graver was there that names all that this one does."""
        mine, gravity = identity(one, about), SEVERITIES.index(one.severity)
        return any(was >= gravity and mine.within(other) for was, other in self.found)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, held in value.items():
            yield str(key)
            yield from _texts(held)
    elif isinstance(value, list | tuple):
        for held in value:
            yield from _texts(held)
