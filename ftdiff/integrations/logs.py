"""Log a result, or a saved one, to a tracker of experiments."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ftdiff.analyses.saved import load
from ftdiff.integrations.entries import Entry, entries
from ftdiff.integrations.mlflow import MLflow
from ftdiff.integrations.tensorboard import TensorBoard
from ftdiff.integrations.wandb import Wandb


class Tracker(Protocol):
    """What entries are logged to."""

    def log(self, entry: Entry) -> None:
        """Log one entry."""

    def close(self) -> None:
        """Write what is not written yet."""


def log_tensorboard(
    result: Any, folder: str | os.PathLike[str], *, step: int | None = None
) -> None:
    """Write a result's numbers and figure as events for TensorBoard.

    Parameters
    ----------
    result
        A diff, a trajectory or another result with a figure, or the path of a saved one.
    folder
        The run's folder, as `tensorboard --logdir` shows it.
    step
        The step of a result that has none of its own; 0 by default.

    Raises
    ------
    MissingExtra
        tensorboard is not installed.
    BadCall, BadFile
        The result has nothing to log, or cannot be opened.
    """
    _log(result, step, lambda: TensorBoard(folder))


def log_wandb(result: Any, *, run: Any | None = None, step: int | None = None) -> None:
    """Log a result's numbers and figure to a run of Weights & Biases.

    Parameters
    ----------
    result, step
        As for `log_tensorboard`; the step is the number `ftdiff/step`.
    run
        What `wandb.init` returned; by default the run that is under way.

    Raises
    ------
    MissingExtra
        wandb is not installed.
    BadCall, BadFile
        There is no run, the result has nothing to log, or it cannot be opened.
    """
    _log(result, step, lambda: Wandb(run))


def log_mlflow(result: Any, *, run_id: str | None = None, step: int | None = None) -> None:
    """Log a result's numbers to a run of MLflow, and its figure as an artifact.

    Parameters
    ----------
    result, step
        As for `log_tensorboard`.
    run_id
        The run; by default the one that is under way.

    Raises
    ------
    MissingExtra
        mlflow is not installed.
    BadCall, BadFile
        There is no run, the result has nothing to log, or it cannot be opened.
    """
    _log(result, step, lambda: MLflow(run_id))


def _log(result: Any, step: int | None, opened: Callable[[], Tracker]) -> None:
    held = load(result) if isinstance(result, str | Path) else result
    tracker = opened()
    try:
        for entry in entries(held, step):
            tracker.log(entry)
    finally:
        tracker.close()
