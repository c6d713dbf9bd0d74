"""A progress bar for every phase, with its rate and time left, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars:
    """A bar for each phase: what `ftdiff.compare` and its like take as progress."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, done: int, total: int) -> None:
        """Show the bytes of work without a phase."""
        if "measuring" not in self._tasks:
            self.phase("measuring")
        self._shown.update(self._tasks["measuring"], completed=done, total=total)

    def phase(self, name: str) -> Callable[[int, int], None]:
        """Begin a phase, anew if there was one of that name."""
        if name in self._tasks:
            self._shown.reset(self._tasks[name])
        else:
            self._tasks[name] = self._shown.add_task(name, total=None)
        task = self._tasks[name]
        return lambda done, total: self._shown.update(task, completed=done, total=total)


@contextmanager
def bars(*, of_bytes: bool = True) -> Iterator[Bars | None]:
    """Lend the bars, of bytes or of counts; None where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    measured = (DownloadColumn(), TransferSpeedColumn()) if of_bytes else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *measured, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield Bars(shown)
