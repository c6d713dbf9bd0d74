"""`audit`: hold a diff against rules and expectations, and against what was found before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ftdiff.analyses.audit.baseline import opened
from ftdiff.analyses.audit.expectation import Expectation
from ftdiff.analyses.audit.identity import Baseline
from ftdiff.analyses.audit.policy import Policy, read_policy
from ftdiff.analyses.audit.registry import AUDIT
from ftdiff.analyses.audit.result import Audit
from ftdiff.analyses.finding import SEVERITIES, Finding, Severity, gravest_first
from ftdiff.comparison import cut
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall
from ftdiff.registry import Registry


def audit(
    diff: Diff,
    policy: Policy | str | Path | None = None,
    *,
    fail_on: str = "alarm",
    baseline: Audit | Baseline | Diff | str | Path | None = None,
) -> Audit:
    """Hold a diff against the built-in rules and a policy's expectations.

    Parameters
    ----------
    diff
        What was compared.
    policy
        A policy, or the path of one in TOML; by default the built-in rules alone.
    fail_on
        The least severity that fails the audit: "note", "caution" or "alarm".
    baseline
        What an earlier audit found, which fails no more: an `Audit`, or the path of one in JSON or
        SARIF; or a diff, or the path of one, which is audited first. A finding is known where one
        of its rule, as grave or graver, named all that it names then; its numbers may be others.

    Raises
    ------
    BadFile
        The policy or the baseline cannot be read.
    BadCall
        This is no diff, or one of parts of tensors, or the policy limits a metric that was not
        measured.
    UnknownName
        There is no such severity.
    """
    if not isinstance(diff, Diff):
        raise BadCall(f"an audit is of a Diff, this is {type(diff).__name__}")
    cut.whole(diff, "an audit")
    least: Severity = Registry("severity", {one: one for one in SEVERITIES})[fail_on]
    held = policy if isinstance(policy, Policy) else read_policy(policy) if policy else Policy()
    _measured(diff, held)
    about = {name: diff.about.get(name) for name in ("base", "tuned", "kind")}
    made = ("sources", "versions", "created", "selection")
    about |= {name: diff.about[name] for name in made if name in diff.about}
    found = tuple(gravest_first(_found(diff, held)))
    known = _known(found, about, baseline, held)
    return Audit(found, held.source, about, least, known)


def _known(
    found: tuple[Finding, ...],
    about: dict[str, object],
    baseline: Audit | Baseline | Diff | str | Path | None,
    policy: Policy,
) -> frozenset[int]:
    """Return the numbers of the findings that an earlier audit had."""
    if baseline is None:
        return frozenset()
    then: Audit | Baseline | Diff = (
        opened(Path(baseline)) if isinstance(baseline, str | Path) else baseline
    )
    if isinstance(then, Diff):
        cut.whole(then, "an audit's baseline")
        _measured(then, policy)
        then = Baseline.of(_found(then, policy), then.about)
    if isinstance(then, Audit):
        then = Baseline.of(then.findings, then.about)
    return frozenset(i for i, one in enumerate(found) if then.knows(one, about))


def _found(diff: Diff, policy: Policy) -> Iterator[Finding]:
    yield from _by_rules(diff, policy)
    yield from _by_expectations(diff, policy)


def _by_rules(diff: Diff, policy: Policy) -> Iterator[Finding]:
    for name, rule in AUDIT.items():
        severity = policy.rules.get(name, rule.severity)
        if severity is not None:
            for one in rule.check(diff):
                yield replace(one, severity=severity)


def _by_expectations(diff: Diff, policy: Policy) -> Iterator[Finding]:
    for one in policy.expect:
        yield from one.check(diff)
    if policy.unlisted == "may not move":
        listed = diff.frame["status"].isna()
        for one in policy.expect:
            listed |= one.chosen(diff.frame)
        rest = Diff(diff.frame[~listed], diff.about)
        if len(rest.frame):
            yield from (
                broken
                for broken in Expectation("unlisted", moves=False).check(rest)
                if broken.severity == "alarm"
            )


def _measured(diff: Diff, policy: Policy) -> None:
    for one in policy.expect:
        for metric in (*one.least, *one.most):
            if metric not in diff.frame:
                raise BadCall(f"{one.name} limits {metric}, which was not measured: -m {metric}")
