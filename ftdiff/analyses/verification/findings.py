"""What a verification shows: its verdict, then what is wrong with which tensors."""

from __future__ import annotations

from ftdiff.analyses.finding import Finding, Severity, speaks_for
from ftdiff.analyses.verification.result import Verification
from ftdiff.analyses.verification.sentences import by_status, sentence
from ftdiff.comparison.frame import records


@speaks_for(Verification)
def findings(result: Verification) -> list[Finding]:
    """Return the verdict, and a finding for each way in which tensors are wrong."""
    severity: Severity = "note" if result.ok else "alarm"
    if result.verdict == "inconclusive":
        severity = "caution"
    whole = f"{_kebab(result.verdict)}: {result.sentences[0]}"
    first = Finding("verdict", severity, whole, {"verdict": result.verdict})
    found = [first]
    for status, rows in by_status(records(result.wrong)).items():
        evidence = {"tensors": [row["tensor"] for row in rows]}
        found.append(Finding(_kebab(status), "alarm", sentence(status, rows), evidence))
    return found


def _kebab(word: str) -> str:
    return word.replace("_", "-")
