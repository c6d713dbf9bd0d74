"""What a check of a claim shows, as a finding: its verdict."""

from __future__ import annotations

from ftdiff.analyses.claims.result import ClaimCheck
from ftdiff.analyses.finding import Finding, Severity, speaks_for


@speaks_for(ClaimCheck)
def findings(result: ClaimCheck) -> list[Finding]:
    """Return the verdict: an alarm where the claim does not hold."""
    severity: Severity = "note" if result.verdict == "verified" else "caution"
    severity = severity if result.ok else "alarm"
    message = f"{result.verdict.replace('_', '-')}: {result.sentences[0]}"
    return [Finding("claim", severity, message, {"verdict": result.verdict})]
