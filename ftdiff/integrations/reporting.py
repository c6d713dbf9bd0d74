"""Find what a trainer reports to, as trackers of our own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ftdiff.errors import FtdiffError, one_line
from ftdiff.integrations.logs import Tracker
from ftdiff.integrations.mlflow import MLflow
from ftdiff.integrations.tensorboard import TensorBoard
from ftdiff.integrations.wandb import Wandb

#: A folder in the trainer's own: of a run's files TensorBoard follows the latest alone.
BESIDE = "ftdiff"
_OPENED: dict[str, Callable[[Any], Tracker]] = {
    "tensorboard": lambda args: TensorBoard(_events(args) / BESIDE),
    "wandb": lambda args: Wandb(),
    "mlflow": lambda args: MLflow(),
}


def trackers(args: Any, say: Callable[[str], None]) -> Iterator[Tracker]:
    """Yield a tracker for each that the trainer reports to; what is not known is said.

    Parameters
    ----------
    args
        The trainer's arguments.
    say
        Told in a line what is not logged to, and why.
    """
    for name in _reported(args):
        if name not in _OPENED:
            say(f"nothing is logged to {name}: only to {', '.join(_OPENED)}")
            continue
        try:
            yield _OPENED[name](args)
        except FtdiffError as error:
            say(one_line(error))


def _reported(args: Any) -> list[str]:
    named = args.report_to
    names = [named] if isinstance(named, str) else [*(named or ())]
    return [name for name in names if name != "none"]


def _events(args: Any) -> Path:
    """Return the folder of the trainer's own events: the one that it has just begun to write."""
    told = os.environ.get("TENSORBOARD_LOGGING_DIR") or getattr(args, "logging_dir", None)
    if told:
        return Path(told).expanduser()
    runs = Path(args.output_dir) / "runs"
    begun = [file for file in runs.glob("**/events.out.tfevents.*") if BESIDE not in file.parts]
    latest = max(begun, key=lambda file: file.stat().st_mtime, default=None)
    return latest.parent if latest is not None else runs
