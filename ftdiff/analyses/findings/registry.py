"""The registry of rules: a generator of findings, and what kind of sentence it says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from ftdiff.analyses.finding import READ, WHEREVER, Finding
from ftdiff.registry import Registry

#: "damage" says what is broken, and leads. "depth" and "structure" claim a pattern, and are tested
#: against a null; "contrast" that two levels differ in the layers measured. "uniform" is said where
#: there is none of these, "power" where there is none of depth. "control" says what else explains a
#: number; "context" what it stands beside.
Kind: TypeAlias = Literal[
    "damage", "structure", "depth", "contrast", "uniform", "power", "control", "context"
]
Generator: TypeAlias = Callable[..., Iterator[Finding]]
G = TypeVar("G", bound=Generator)

#: Kinds that claim a pattern.
STRUCTURAL = ("structure", "depth")


@dataclass(frozen=True)
class Rule:
    """A registered rule.

    Attributes
    ----------
    name
        As in `Finding.rule`.
    kind
        What kind of sentence it says.
    of
        "grid": it reads layers × components, a stack at a time; "diff": a whole diff.
    generate
        Takes the grid or the diff, then thresholds by keyword; yields findings.
    null, power
        Words: what it is held against, and what it would see.
    """

    name: str
    kind: Kind
    of: Literal["grid", "diff"]
    generate: Generator
    null: str = READ
    power: str = WHEREVER


RULES: Registry[Rule] = Registry("finding")


def rule(
    name: str,
    *,
    kind: Kind,
    of: Literal["grid", "diff"] = "grid",
    null: str = READ,
    power: str = WHEREVER,
) -> Callable[[G], G]:
    """Register a generator as a rule, and return it as it was.

    Parameters
    ----------
    name, kind, of, null, power
        See `Rule`. Thresholds are the generator's keywords: their defaults hold unless
        `ftdiff.findings(…, limits={name: {keyword: value}})` says otherwise.
    """

    def register(generate: G) -> G:
        RULES.add(name, Rule(name, kind, of, generate, null, power))
        return generate

    return register


def evidence(**values: Any) -> dict[str, Any]:
    """Return plain values: numpy's numbers become Python's, and None where they are not finite."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number
