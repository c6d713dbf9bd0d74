"""A line for every phase, with its own rate and time left, on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ftdiff.cli.voice import VOICE
from ftdiff.comparison.pace import Pace, Report
from ftdiff.comparison.progress import duration

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID


class Bars:
    """A line for each phase: what `ftdiff.compare` and its like take as progress.

    A phase ends when the next one begins. Its line then says how long it took; the line of the one
    that goes on says how fast it goes and how long it will take, or, of what counts nothing, how
    long it has taken so far.
    """

    def __init__(self, shown: Progress | None) -> None:
        self._shown = shown
        self._tasks: dict[str, TaskID] = {}
        self._current: tuple[str, Pace] | None = None
        self._unnamed: Report | None = None

    def __call__(self, done: int, total: int) -> None:
        """Show the bytes of work without a phase."""
        if self._unnamed is None:
            self._unnamed = self.phase("measuring")
        self._unnamed(done, total)

    def phase(self, name: str) -> Report:
        """Begin a phase, anew if there was one of that name."""
        self.end()
        pace = Pace()
        self._current = name, pace
        if self._shown is None:
            return pace.report
        if name in self._tasks:
            self._shown.remove_task(self._tasks[name])
        task = self._tasks[name] = self._shown.add_task(name, total=None, pace=pace, took=None)
        shown = self._shown

        def report(done: int, total: int) -> None:
            pace.report(done, total)
            shown.update(task, completed=done, total=total)

        return report

    def end(self) -> None:
        """End the phase that goes on: its line says how long it took."""
        if self._current is None:
            return
        (name, pace), self._current = self._current, None
        self._unnamed = None
        if VOICE.verbose and not VOICE.quiet:
            click.echo(f"{name}: {duration(pace.seconds)}", err=True)
        if self._shown is not None:
            whole = max(pace.total, 1)
            task = self._tasks[name]
            self._shown.update(task, completed=whole, total=whole, took=pace.seconds)


@contextmanager
def bars(*, of_bytes: bool = True, first: str = "opening") -> Iterator[Bars | None]:
    """Lend the bars, of bytes or of counts, and begin a first phase; None where nobody watches."""
    if not _is_watched():
        quiet = not VOICE.verbose or VOICE.quiet
        watched = None if quiet else Bars(None)
        if watched is not None:
            watched.phase(first)
        yield watched
        if watched is not None:
            watched.end()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from ftdiff.cli.progress_columns import amount, left

    console = Console(stderr=True)
    columns: tuple[ProgressColumn, ...] = (
        TextColumn("{task.description}"),
        *([BarColumn(bar_width=24)] if console.width >= 80 else []),
        amount(of_bytes=of_bytes),
        left(),
    )
    # standard output is no part of it: it may be a pipe
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as shown:
        found = Bars(shown)
        found.phase(first)
        yield found
        found.end()


@contextmanager
def step(name: str) -> Iterator[None]:
    """Show that a phase goes on which counts nothing, as drawing and saving."""
    with bars(first=name):
        yield


def _is_watched() -> bool:
    """Say whether bars can be drawn, and are wanted."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return (
        is_terminal
        and VOICE.progress
        and not VOICE.quiet
        and os.environ.get("TERM", "") not in ("dumb", "unknown")
    )
