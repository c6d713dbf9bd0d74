"""The shell's way in: errors are one line, exit codes are 0, 1 (a verdict) and 2 (the input)."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import click

from ftdiff.cli import ftdiff
from ftdiff.errors import FtdiffError, one_line

_INTERRUPTED = 130
_LONGEST = 2000  # characters of a message: a name in a file may have a million


def main() -> None:
    """Run the command line, and translate what was raised on purpose into a line and a code."""
    interrupts = _counted_interrupts()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal of few letters shows the others as ?
            stream.reconfigure(errors="replace")
    try:
        sys.exit(ftdiff(prog_name="ftdiff", standalone_mode=False))
    except (Exception, KeyboardInterrupt) as error:
        if interrupts or isinstance(error, click.Abort):
            click.echo("ftdiff: interrupted", err=True)
            _leave(_INTERRUPTED)
        if isinstance(error, FtdiffError):
            _fail(f"ftdiff: {one_line(error, _LONGEST)}", 2)
        if isinstance(error, click.ClickException):
            error.show()
            sys.exit(error.exit_code)
        if isinstance(error, MemoryError):
            _fail(f"ftdiff: not enough memory ({one_line(error, _LONGEST)})", 2)
        if isinstance(error, BrokenPipeError):  # the reader of our output has gone: not an error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        raise


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
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _fail(line: str, code: int) -> NoReturn:
    click.echo(line, err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
