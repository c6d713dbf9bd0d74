"""The shell's way in: errors are one line; exit codes are 0, 1 (a check failed) and 2 (the input).

A few commands have verdicts of their own beyond these, which their help names.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import click

from ftdiff.cli import dialect, ftdiff, streams
from ftdiff.errors import FtdiffError

_INTERRUPTED = 130


def main() -> None:
    """Run the command line, and translate what was raised into a line and a code."""
    interrupts = _counted_interrupts()
    streams.settle()
    code = _run(interrupts)
    try:
        streams.flush()
    except FtdiffError as error:
        code = _said(error)
    sys.exit(code)


def _run(interrupts: list[int]) -> int:
    """Run the command, and return its exit code."""
    try:
        returned = ftdiff(prog_name="ftdiff", standalone_mode=False)
        return returned if isinstance(returned, int) else 0
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001, what is left is a defect
        if interrupts or isinstance(error, click.Abort | KeyboardInterrupt):
            with suppress(FtdiffError):
                click.echo("ftdiff: interrupted", err=True)
            _leave(_INTERRUPTED)
        if type(error).__name__ == "NoArgsIsHelpError":  # the name alone: its help
            click.echo(str(error), err=True)
            return dialect.WRONG
        return _said(error)


def _said(error: BaseException) -> int:
    """Say what went wrong, if anybody listens, and return the exit code."""
    line, code = dialect.told(error)
    with suppress(FtdiffError, ValueError):
        click.echo(line, err=True)
    return code


def _counted_interrupts() -> list[int]:
    """Return a list that grows with every Ctrl-C.

    A library that is interrupted while it is imported may raise another error instead.
    """
    seen: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    return seen


def _leave(code: int) -> NoReturn:
    """End the process without waiting for threads: one may wait for another machine."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, FtdiffError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
