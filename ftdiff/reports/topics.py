"""What every metric, finding and audit rule is, in words: for `ftdiff help` and the reference."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ftdiff.analyses.audit import AUDIT, AuditRule
from ftdiff.analyses.findings import RULES, Rule
from ftdiff.errors import UnknownName, near
from ftdiff.metrics import METRICS, Metric

Kind: TypeAlias = Literal["metric", "finding", "audit rule"]


@dataclass(frozen=True)
class Topic:
    """One thing that has a name.

    Attributes
    ----------
    name, kind
        A metric, a finding and an audit rule may share a name.
    what
        What it is, in a sentence or two.
    facts
        Labels and texts; of every kind there is what noise gives, or a null and a power.
    """

    name: str
    kind: Kind
    what: str
    facts: dict[str, str]


def topics() -> Iterator[Topic]:
    """Yield all of them: metrics, findings, audit rules."""
    yield from map(of_metric, METRICS.values())
    yield from map(of_finding, RULES.values())
    yield from map(of_audit_rule, AUDIT.values())


def topics_of(name: str, commands: Collection[str] = ()) -> list[Topic]:
    """Return what has this name, of every kind; `commands` are names that may be meant, too.

    Raises
    ------
    UnknownName
        Nothing has.
    """
    found: dict[str, list[Topic]] = {}
    for topic in topics():
        found.setdefault(topic.name, []).append(topic)
    known = {spelled(each): each for each in found}
    if spelled(name) not in known:
        every = [*commands, *found]
        within = [each for each in every if spelled(name) in spelled(each).split("-")]
        hint = f"; there are {', '.join(within)}" if within else near(name, every)
        hint = hint or "; `ftdiff help` lists them"
        kinds = "command, metric, finding" if commands else "metric, finding"
        raise UnknownName(f"no {kinds} or audit rule is called {name!r}{hint}")
    return found[known[spelled(name)]]


def spelled(name: str) -> str:
    """Return a name as it is looked for: whatever its case, with dashes."""
    return name.lower().replace("_", "-")


def of_metric(metric: Metric) -> Topic:
    """Say what a metric is."""
    facts = {
        "formula": metric.formula,
        "range": metric.range + (f", in units of {metric.unit}" if metric.unit else ""),
        "noise gives": metric.null,
        "cost": metric.cost,
        "measured": measured(metric),
        "source": metric.source,
    }
    return Topic(metric.name, "metric", _documented(metric.compute), _said(facts))


def of_finding(rule: Rule) -> Topic:
    """Say what a finding's rule is, when it speaks, against what."""
    facts = {
        "reads": "the whole diff" if rule.of == "diff" else "layers × components, by stack",
        "thresholds": _thresholds(rule.generate),
        "null": rule.null,
        "power": rule.power,
    }
    return Topic(rule.name, "finding", _documented(rule.generate), _said(facts))


def of_audit_rule(rule: AuditRule) -> Topic:
    """Say what an audit rule guards against, how grave it is, and against what it is held."""
    fails = {"alarm": "fails an audit", "caution": "is a warning", "note": "is worth knowing"}
    facts = {
        "severity": f"{rule.severity}: {fails[rule.severity]}",
        "thresholds": _thresholds(rule.check),
        "null": rule.null,
        "power": rule.power,
    }
    return Topic(rule.name, "audit rule", _documented(rule.check), _said(facts))


def measured(metric: Metric) -> str:
    """Say when a metric is measured."""
    if metric.needs == "sums":
        return "always"
    if metric.needs == "text":
        return "by ftdiff importance"
    return f"when asked for: -m {metric.name}, or -m {metric.group} for the group"


def _documented(function: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(function) or "").split())


def _thresholds(function: Callable[..., Any]) -> str:
    given = list(inspect.signature(function).parameters.values())[1:]
    return ", ".join(f"{one.name} {one.default:g}" for one in given)


def _said(facts: dict[str, str]) -> dict[str, str]:
    return {label: text for label, text in facts.items() if text}
