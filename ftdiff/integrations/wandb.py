"""Entries in a run of Weights & Biases."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ftdiff.errors import BadCall, require
from ftdiff.integrations.entries import PREFIX, Entry

EXTRA = "wandb"
#: The number that wandb draws the others over: its own steps only rise, and are the trainer's.
STEP = f"{PREFIX}/step"


class Wandb:
    """A run of Weights & Biases.

    Parameters
    ----------
    run
        What `wandb.init` returned; by default the run that is under way.

    Raises
    ------
    MissingExtra
        wandb is not installed.
    BadCall
        No run is under way.
    """

    def __init__(self, run: Any | None = None) -> None:
        self._library = require("wandb", EXTRA, "logging to Weights & Biases")
        self._run = self._library.run if run is None else run
        if self._run is None:
            raise BadCall("no run of wandb is under way: call wandb.init first, or give run=")
        self._run.define_metric(STEP)
        self._run.define_metric(f"{PREFIX}/*", step_metric=STEP)

    def log(self, entry: Entry) -> None:
        """Log one entry."""
        with TemporaryDirectory() as folder:
            pictures = {}
            for number, (name, png) in enumerate(entry.pictures.items()):
                file = Path(folder) / f"{number}.png"
                file.write_bytes(png)
                pictures[name] = self._library.Image(os.fspath(file))
            self._run.log({STEP: entry.step, **entry.numbers, **pictures})

    def close(self) -> None:
        """Leave the run to whoever began it."""
