"""Entries in a run of MLflow."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ftdiff.errors import BadCall, require
from ftdiff.integrations.entries import Entry

EXTRA = "mlflow"


class MLflow:
    """A run of MLflow.

    Parameters
    ----------
    run_id
        Its name in the store; by default the run that is under way.

    Raises
    ------
    MissingExtra
        mlflow is not installed.
    BadCall
        No run is under way.
    """

    def __init__(self, run_id: str | None = None) -> None:
        library = require("mlflow", EXTRA, "logging to MLflow")
        active = library.active_run() if run_id is None else None
        if run_id is None and active is None:
            raise BadCall("no run of mlflow is under way: call mlflow.start_run first, or run_id=")
        self._id = str(active.info.run_id) if active is not None else run_id
        self._client = library.MlflowClient()

    def log(self, entry: Entry) -> None:
        """Log one entry; a picture is an artifact named for its step."""
        for name, value in entry.numbers.items():
            self._client.log_metric(self._id, name, value, step=entry.step)
        with TemporaryDirectory() as folder:
            for name, png in entry.pictures.items():
                where, _, what = name.rpartition("/")
                file = Path(folder) / f"{what}-{entry.step}.png"
                file.write_bytes(png)
                self._client.log_artifact(self._id, str(file), where)

    def close(self) -> None:
        """Leave the run to whoever began it."""
