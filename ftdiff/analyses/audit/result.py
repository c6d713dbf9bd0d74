"""`Audit`: whether a fine-tune holds to its policy, what broke, and what of that is new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ftdiff.analyses.finding import SEVERITIES, Finding, Severity
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison import storage
from ftdiff.comparison.storage import Unfit
from ftdiff.errors import one_line

FORM = storage.Form("audit", indent=1, described=True)
#: What a record of a finding has that an earlier audit had, too.
KNOWN = "known"


@dataclass(frozen=True, eq=False, repr=False)
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
    fail_on
        The least severity that fails the audit.
    known
        Numbers of findings that the baseline had, too: they do not fail it.
    """

    findings: tuple[Finding, ...]
    policy: str
    about: Mapping[str, Any]
    fail_on: Severity = "alarm"
    known: frozenset[int] = frozenset()

    @cached_property
    def failing(self) -> tuple[bool, ...]:
        """Of each finding, whether it fails the audit: grave enough, and not known."""
        least = SEVERITIES.index(self.fail_on)
        return tuple(
            SEVERITIES.index(one.severity) >= least and i not in self.known
            for i, one in enumerate(self.findings)
        )

    @property
    def ok(self) -> bool:
        """Whether no finding fails it: by default, whether there is no alarm."""
        return not any(self.failing)

    @property
    def verdict(self) -> str:
        """ "passed" or "failed"; "passed in part" where a selection was compared."""
        part = " in part" if self.about.get("selection") else ""
        return f"passed{part}" if self.ok else "failed"

    @property
    def exit_code(self) -> int:
        """0 where the audit passed, 1 where it failed."""
        return 0 if self.ok else 1

    @property
    def held_against(self) -> str:
        """What it was held against, in words."""
        words = [self.policy]
        words += [f"fails on a {self.fail_on}"] if self.fail_on != "alarm" else []
        words += [f"{len(self.known)} known before"] if self.known else []
        return ", ".join(words)

    def _repr_html_(self) -> str:
        """Show itself in a notebook: the verdict, and a row per finding."""
        rows = [{"severity": f.severity, "rule": f.rule, "found": f.message} for f in self.findings]
        return notebook.shown(self._line(), (), rows)

    def __repr__(self) -> str:
        said = [f"  {f.severity:<7} {f.rule:<24} {one_line(f.message)}" for f in self.findings]
        return "\n".join([f"Audit({one_line(self._line())})", *said])

    def _line(self) -> str:
        return f"{self.verdict}: {self.about.get('tuned')} ({self.held_against})"

    def record(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {"format": FORM.tag, **self.document()}

    def document(self) -> dict[str, Any]:
        """Return everything but the name of the format as plain values."""
        found = [
            one.record() | ({KNOWN: True} if i in self.known else {})
            for i, one in enumerate(self.findings)
        ]
        return {
            "verdict": self.verdict,
            "policy": self.policy,
            "fail_on": self.fail_on,
            "about": dict(self.about),
            "findings": found,
        }

    def json(self) -> str:
        """Return everything as JSON."""
        return FORM.text(self.document())

    @classmethod
    def load(cls, path: str | Path) -> Audit:
        """Read an audit that was printed or written as JSON.

        Raises
        ------
        BadFile
            The file is no audit.
        """
        return storage.load(Path(path), FORM, cls.of_document)

    @classmethod
    def of_document(cls, stored: Mapping[str, Any]) -> Audit:
        """Return the audit that a document holds.

        Raises
        ------
        Unfit, KeyError, TypeError, ValueError
            It holds none.
        """
        found, about = stored["findings"], stored["about"]
        fail_on = stored.get("fail_on", "alarm")  # the first audits failed on nothing else
        if not isinstance(about, dict) or fail_on not in SEVERITIES:
            raise Unfit("about or fail_on is of another type")
        known = frozenset(i for i, one in enumerate(found) if one.get(KNOWN))
        return cls(
            tuple(map(Finding.of_record, found)), str(stored["policy"]), about, fail_on, known
        )
