"""Recover the adapter that was merged into a model, and say what is and is not in the weights."""

from __future__ import annotations

from ftdiff.analyses.recovery import findings
from ftdiff.analyses.recovery.measure import recover
from ftdiff.analyses.recovery.result import Recovery

__all__ = ["Recovery", "findings", "recover"]
