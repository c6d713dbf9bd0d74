"""What changed in the weights: LoRA and fine-tuning diffs, with a floor beside every number."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftdiff import integrations, plots, reports
    from ftdiff.adapters import open_tuned
    from ftdiff.adapters.named_base import base_of
    from ftdiff.analyses import parts
    from ftdiff.analyses.audit import Audit, audit
    from ftdiff.analyses.claims import Claim, ClaimCheck, attest, verify_claim
    from ftdiff.analyses.drift import Drift, drift
    from ftdiff.analyses.finding import Finding, findings
    from ftdiff.analyses.importance import Importance, importance
    from ftdiff.analyses.lineage import lineage
    from ftdiff.analyses.lineage_result import Lineage
    from ftdiff.analyses.merges import MergeOf, merge_of
    from ftdiff.analyses.probing import Probe, probe
    from ftdiff.analyses.recovery import Recovery, recover
    from ftdiff.analyses.saved import load
    from ftdiff.analyses.similarity import Similarity, similarity
    from ftdiff.analyses.trajectory import Trajectory, trajectory
    from ftdiff.analyses.verification import Verification, verify
    from ftdiff.comparison.engine import compare
    from ftdiff.comparison.result import Diff
    from ftdiff.errors import FtdiffError
    from ftdiff.formats import open_checkpoint
    from ftdiff.metrics import metric

    __version__: str

__all__ = [
    "Audit",
    "Claim",
    "ClaimCheck",
    "Diff",
    "Drift",
    "Finding",
    "FtdiffError",
    "Importance",
    "Lineage",
    "MergeOf",
    "Probe",
    "Recovery",
    "Similarity",
    "Trajectory",
    "Verification",
    "attest",
    "audit",
    "base_of",
    "compare",
    "drift",
    "findings",
    "importance",
    "integrations",
    "lineage",
    "load",
    "merge_of",
    "metric",
    "open_checkpoint",
    "open_tuned",
    "parts",
    "plots",
    "probe",
    "recover",
    "reports",
    "similarity",
    "trajectory",
    "verify",
    "verify_claim",
]

#: Where each name lives; a module is imported when its name is first used.
_HOMES = {
    "Audit": "analyses.audit",
    "Claim": "analyses.claims",
    "ClaimCheck": "analyses.claims",
    "Diff": "comparison.result",
    "Drift": "analyses.drift",
    "Finding": "analyses.finding",
    "FtdiffError": "errors",
    "Importance": "analyses.importance",
    "Lineage": "analyses.lineage_result",
    "MergeOf": "analyses.merges",
    "Probe": "analyses.probing",
    "Recovery": "analyses.recovery",
    "Similarity": "analyses.similarity",
    "Trajectory": "analyses.trajectory",
    "Verification": "analyses.verification",
    "attest": "analyses.claims",
    "audit": "analyses.audit",
    "base_of": "adapters.named_base",
    "compare": "comparison.engine",
    "drift": "analyses.drift",
    "findings": "analyses.findings",
    "importance": "analyses.importance",
    "lineage": "analyses.lineage",
    "load": "analyses.saved",
    "merge_of": "analyses.merges",
    "metric": "metrics",
    "open_checkpoint": "formats",
    "open_tuned": "adapters",
    "probe": "analyses.probing",
    "recover": "analyses.recovery",
    "similarity": "analyses.similarity",
    "trajectory": "analyses.trajectory",
    "verify": "analyses.verification",
    "verify_claim": "analyses.claims",
}
#: Packages that are public themselves.
_PACKAGES = {
    "integrations": "integrations",
    "parts": "analyses.parts",
    "plots": "plots",
    "reports": "reports",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _HOMES:
        return getattr(importlib.import_module(f"ftdiff.{_HOMES[name]}"), name)
    if name in _PACKAGES:
        return importlib.import_module(f"ftdiff.{_PACKAGES[name]}")
    raise AttributeError(f"module 'ftdiff' has no attribute {name!r}")


def _version() -> str:
    """Return the installed version; "unknown" where it runs from a folder that was not installed.

    What it takes is imported when it is asked for: the shell's help does without.
    """
    from importlib import metadata

    try:
        return metadata.version("ftdiff")
    except metadata.PackageNotFoundError:
        return "unknown"


def __dir__() -> list[str]:
    return __all__
