"""`Audit`: whether a fine-tune holds to its policy, and what broke."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ftdiff.analyses.audit.expectation import Expectation
from ftdiff.analyses.audit.policy import Policy, read_policy
from ftdiff.analyses.audit.registry import AUDIT
from ftdiff.analyses.finding import Finding, gravest_first
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall

FORMAT = "ftdiff.audit/1"


@dataclass(frozen=True, eq=False)
class Audit:
    """A verdict, and the findings that it rests on.

    Attributes
    ----------
    findings
        The gravest first.
    policy
        Where the policy was read, or "built-in rules".
    about
        What was compared: base, tuned, kind; sources, versions and when, as the diff has them.
    """

    findings: tuple[Finding, ...]
    policy: str
    about: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether there is no alarm."""
        return not any(one.severity == "alarm" for one in self.findings)

    @property
    def verdict(self) -> str:
        """ "passed" or "failed"; "passed in part" where a selection was compared."""
        part = " in part" if self.about.get("selection") else ""
        return f"passed{part}" if self.ok else "failed"

    @property
    def exit_code(self) -> int:
        """0 where the audit passed, 1 where it failed."""
        return 0 if self.ok else 1

    def _repr_html_(self) -> str:
        """Show itself in a notebook: the verdict, and a row per finding."""
        rows = [{"severity": f.severity, "rule": f.rule, "found": f.message} for f in self.findings]
        return notebook.shown(
            f"{self.verdict}: {self.about.get('tuned')} ({self.policy})", (), rows
        )

    def record(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "format": FORMAT,
            "verdict": self.verdict,
            "policy": self.policy,
            "about": dict(self.about),
            "findings": [one.record() for one in self.findings],
        }


def audit(diff: Diff, policy: Policy | str | Path | None = None) -> Audit:
    """Hold a diff against the built-in rules and a policy's expectations.

    Parameters
    ----------
    diff
        What was compared.
    policy
        A policy, or the path of one in TOML; by default the built-in rules alone.

    Raises
    ------
    BadFile
        The policy cannot be read.
    BadCall
        This is no diff, or the policy limits a metric that was not measured.
    """
    if not isinstance(diff, Diff):
        raise BadCall(f"an audit is of a Diff, this is {type(diff).__name__}")
    held = policy if isinstance(policy, Policy) else read_policy(policy) if policy else Policy()
    _measured(diff, held)
    found = [*_by_rules(diff, held), *_by_expectations(diff, held)]
    about = {name: diff.about.get(name) for name in ("base", "tuned", "kind")}
    made = ("sources", "versions", "created", "selection")
    about |= {name: diff.about[name] for name in made if name in diff.about}
    return Audit(tuple(gravest_first(found)), held.source, about)


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
