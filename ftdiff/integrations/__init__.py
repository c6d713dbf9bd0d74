"""What plugs into trainers and clusters, and what logs a saved result to a tracker of experiments.

To add a tracker: its file here with a class that has `log` and `close`, a function in `logs`, and
its line in `reporting`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftdiff.integrations.logs import log_mlflow, log_tensorboard, log_wandb
    from ftdiff.integrations.ray import RayExecutor
    from ftdiff.integrations.training import TrainerCallback

__all__ = ["RayExecutor", "TrainerCallback", "log_mlflow", "log_tensorboard", "log_wandb"]

#: Where each name lives; transformers, Ray and the trackers are imported when a name is first used.
_HOMES = {
    "RayExecutor": "ray",
    "TrainerCallback": "training",
    "log_mlflow": "logs",
    "log_tensorboard": "logs",
    "log_wandb": "logs",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"ftdiff.integrations.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ftdiff.integrations' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
