"""Was the adapter really merged into this base, and how exactly: a verdict and its rows."""

from __future__ import annotations

from ftdiff.merging.checking import verify
from ftdiff.merging.verification import Verification

__all__ = ["Verification", "verify"]
