"""Was the adapter really merged into this base, and how exactly: a verdict and its rows."""

from __future__ import annotations

from ftdiff.analyses.verification import findings
from ftdiff.analyses.verification.measure import verify
from ftdiff.analyses.verification.result import Verification

__all__ = ["Verification", "findings", "verify"]
