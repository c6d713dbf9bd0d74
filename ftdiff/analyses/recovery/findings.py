"""What a recovery shows, as a finding: its verdict."""

from __future__ import annotations

from ftdiff.analyses.finding import Finding, Severity, speaks_for
from ftdiff.analyses.recovery.result import Recovery


@speaks_for(Recovery)
def findings(result: Recovery) -> list[Finding]:
    """Return the verdict with its rank."""
    evidence = {"verdict": result.verdict, "rank": result.about["rank"]}
    severity: Severity = "note" if result.about.get("accepted", True) else "caution"
    message = f"{result.verdict.replace('_', '-')}: {result.sentences[0]}"
    return [Finding("recovery", severity, message, evidence)]
