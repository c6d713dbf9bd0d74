"""A callback of transformers' and TRL's trainers that measures the model while it is trained."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdiff.adapters import open_base
from ftdiff.analyses.trajectory import Trajectory, trajectory
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import BadCall, one_line, require
from ftdiff.formats import Checkpoint
from ftdiff.integrations import live
from ftdiff.integrations.entries import entry_of, map_of
from ftdiff.integrations.logs import Tracker
from ftdiff.integrations.reporting import trackers
from ftdiff.integrations.start import start_of

if TYPE_CHECKING:
    from transformers import TrainerCallback as Callback
else:
    Callback = require("transformers", "models", "a trainer's callback").TrainerCallback

_LOG = logging.getLogger("ftdiff")
_LONGEST = 500  # characters of a message


class TrainerCallback(Callback):  # type: ignore[misc]
    """Measure how far a model in training is from where it began, at each save.

    At each save, or every so many steps, the change is measured from the model in memory, added to
    `ftdiff/trajectory.json` in the trainer's output folder, and logged to what the trainer reports
    to: scalars for the model and for each component, and a heatmap of layers × components. A
    training that is resumed goes on with its file.

    The start is files on disk: those given; of an adapter its base, where it is found under the
    name that the adapter calls it by; of a whole model a snapshot, which is written when training
    begins (once the size of the weights). No second copy is held in memory. Under FSDP and ZeRO-3 a
    process has pieces alone, and the checkpoint that was saved is measured in place of the model.

    Only the first process measures; the others wait for it where they next meet. What cannot be
    measured or logged is said in a line of the logger "ftdiff", and training goes on.

    Parameters
    ----------
    start
        What training started from; by default as above.
    every
        Measure at each multiple of so many steps; by default at each save.
    output
        The folder of the trajectory and the snapshot; by default `ftdiff` in the trainer's output
        folder.
    log
        Whether to log to what the trainer reports to.

    Raises
    ------
    MissingExtra
        transformers is not installed.
    BadCall
        `every` is no number of steps.

    Examples
    --------
    ::

        Trainer(model, args, train_dataset=rows, callbacks=[ftdiff.integrations.TrainerCallback()])
    """

    def __init__(
        self,
        start: str | os.PathLike[str] | None = None,
        *,
        every: int | None = None,
        output: str | os.PathLike[str] | None = None,
        log: bool = True,
    ) -> None:
        if every is not None and every < 1:
            raise BadCall(f"every={every}: a number of steps, 1 or more")
        self.start = None if start is None else Path(start)
        self.every = every
        self.output = None if output is None else Path(output)
        self.log = log
        self.trajectory: Trajectory | None = None
        self._base: Checkpoint | None = None
        self._trackers: list[Tracker] = []
        self._ready = False
        self._said: set[str] = set()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find the start, or write it, and what was measured before."""
        self._ready = False
        if not state.is_world_process_zero:
            return
        model = live.unwrapped(kwargs["model"])
        folder = self._folder(args)
        resumed = state.global_step > 0
        try:
            start = self.start
            start = start_of(model, folder, resumed=resumed) if start is None else start
            self._base = open_base(start)
            self.trajectory = _earlier(folder, state.global_step) if resumed else None
        except Exception as error:  # noqa: BLE001  no training ends for it, whatever it is
            self._say(f"nothing is measured: {one_line(error, _LONGEST)}")
            return
        if start is None:
            self._say(
                "the adapter's base is not found: lengths alone, no relative norm; give start="
            )
        if (held := live.sharding(model)) is not None:
            self._say(f"under {held} the checkpoints are measured as they are saved, not the model")
        self._trackers = [*trackers(args, self._say)] if self.log else []
        self._ready = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure at a save."""
        model = live.unwrapped(kwargs["model"])
        if self._ready and (self.every is None or live.sharding(model) is not None):
            self._measure(model, args, state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure after so many steps."""
        model = live.unwrapped(kwargs["model"])
        due = self.every is not None and state.global_step % self.every == 0
        if self._ready and due and live.sharding(model) is None:
            self._measure(model, args, state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close what is logged to."""
        for tracker in self._trackers:
            tracker.close()
        self._trackers = []
        self._ready = False

    def _measure(self, model: Any, args: Any, state: Any) -> None:
        """Add a checkpoint to the trajectory, save it, and log it."""
        step = state.global_step
        if self.trajectory is not None and step <= self.trajectory.steps[-1]:
            return  # a save at the end of training, of a step that was measured
        name = f"checkpoint-{step}"
        try:
            if live.sharding(model) is not None:
                place = Path(args.output_dir) / name
                self._add(live.saved(place, self._base, name), step)
            else:
                with live.opened(model, self._base, name) as tuned:
                    self._add(tuned, step)
            assert self.trajectory is not None
            self.trajectory.save(self._folder(args) / "trajectory.json")
        except Exception as error:  # noqa: BLE001  as above
            self._say(f"step {step} is not measured: {one_line(error, _LONGEST)}")
            return
        self._report(self.trajectory)

    def _add(self, tuned: Tuned, step: int) -> None:
        self.trajectory = trajectory(self._base, [tuned], steps=[step], earlier=self.trajectory)

    def _report(self, run: Trajectory) -> None:
        if not self._trackers:
            return
        last = len(run.names) - 1
        entry = entry_of(run, last, {"heatmap": map_of(run, last)})
        for tracker in self._trackers:
            try:
                tracker.log(entry)
            except Exception as error:  # noqa: BLE001  as above
                self._say(f"{type(tracker).__name__} does not log: {one_line(error, _LONGEST)}")

    def _folder(self, args: Any) -> Path:
        return self.output or Path(args.output_dir) / "ftdiff"

    def _say(self, line: str) -> None:
        """Say each thing once."""
        if line not in self._said:
            self._said.add(line)
            _LOG.warning("ftdiff: %s", line)


def _earlier(folder: Path, step: int) -> Trajectory | None:
    """Return what was measured up to a step; None where nothing was."""
    file = folder / "trajectory.json"
    return Trajectory.load(file).until(step) if file.is_file() else None
