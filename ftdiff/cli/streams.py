"""Standard output and error that outlive their reader: a closed pipe changes no verdict."""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from typing import Any, TextIO

from ftdiff.errors import BadFile


class _Patient(io.FileIO):
    """A file descriptor that is written to as long as anybody reads it.

    What is written after its reader has gone is dropped. What a full disk does not take is an
    error once, and dropped from then on, so that the interpreter can end.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream.fileno(), "w", closefd=False)
        self._gone = False
        self._called = "standard error" if stream is sys.stderr else "standard output"

    def write(self, data: Any) -> int:
        """Write, or drop, and return how many bytes are done with."""
        if not self._gone:
            try:
                return super().write(data) or 0
            except BrokenPipeError:
                self._gone = True
            except OSError as error:
                self._gone = True
                raise BadFile(f"{self._called}: {error.strerror or error}") from error
        return memoryview(data).nbytes


def settle() -> None:
    """Replace both streams by patient ones; a terminal of few letters shows the others as ?."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError, ValueError):  # it is no file
                raw = io.BufferedWriter(_Patient(stream))
                lines = stream.line_buffering or name == "stderr"
                patient = io.TextIOWrapper(
                    raw, stream.encoding, errors="replace", line_buffering=lines
                )
                setattr(sys, name, patient)


def flush() -> None:
    """Write what waits.

    Raises
    ------
    BadFile
        The disk behind standard output is full, or it cannot be written.
    """
    for stream in (sys.stderr, sys.stdout):
        if stream is not None and not stream.closed:
            stream.flush()
