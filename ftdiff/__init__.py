"""What changed in the weights: LoRA and fine-tuning diffs, with a floor beside every number."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftdiff import parts, plots, reports
    from ftdiff.adapters import open_tuned
    from ftdiff.engine import compare
    from ftdiff.errors import FtdiffError
    from ftdiff.finding import Finding
    from ftdiff.formats import open_checkpoint
    from ftdiff.journey import Trajectory, trajectory
    from ftdiff.likeness import Similarity, similarity
    from ftdiff.merging import Verification, verify
    from ftdiff.metrics import metric
    from ftdiff.parentage import Lineage, lineage
    from ftdiff.policy import Audit, audit
    from ftdiff.result import Diff
    from ftdiff.sentences import findings

__all__ = [
    "Audit",
    "Diff",
    "Finding",
    "FtdiffError",
    "Lineage",
    "Similarity",
    "Trajectory",
    "Verification",
    "audit",
    "compare",
    "findings",
    "lineage",
    "metric",
    "open_checkpoint",
    "open_tuned",
    "parts",
    "plots",
    "reports",
    "similarity",
    "trajectory",
    "verify",
]

#: Where each name lives; a room is imported when its name is first used.
_ROOMS = {
    "Audit": "policy",
    "Diff": "result",
    "Finding": "finding",
    "FtdiffError": "errors",
    "Lineage": "parentage",
    "Similarity": "likeness",
    "Trajectory": "journey",
    "Verification": "merging",
    "audit": "policy",
    "compare": "engine",
    "findings": "sentences",
    "lineage": "parentage",
    "metric": "metrics",
    "open_checkpoint": "formats",
    "open_tuned": "adapters",
    "similarity": "likeness",
    "trajectory": "journey",
    "verify": "merging",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(importlib.import_module(f"ftdiff.{_ROOMS[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"ftdiff.{name}")
    raise AttributeError(f"module 'ftdiff' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
