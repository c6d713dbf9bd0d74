"""The program in a pseudo-terminal of any width and any letters, or before a reader that leaves."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import pty
import signal
import struct
import sys
import termios
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from unittest import mock

import ftdiff.__main__ as program


@dataclass(frozen=True)
class Seen:
    """What was written, and the exit code."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Standard output as text, its lines ended as a file's are."""
        return self.out.decode().replace("\r\n", "\n")


def in_terminal(
    arguments: list[str],
    *,
    columns: int = 80,
    encoding: str = "utf-8",
    env: Mapping[str, str] | None = None,
) -> Seen:
    """Run the program with both streams on terminals of so many columns."""
    size = struct.pack("HHHH", 40, columns, 0, 0)
    ends = [pty.openpty(), pty.openpty()]
    for _, slave in ends:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
    readers = [_Reader(master) for master, _ in ends]
    code = _run(arguments, [slave for _, slave in ends], encoding, env or {})
    found = [reader.all() for reader in readers]
    return Seen(code, *found)


def into_head(arguments: list[str], lines: int = 1) -> Seen:
    """Run the program before a reader that takes so many lines of standard output, and leaves."""
    (read, write), (told, tell) = os.pipe(), os.pipe()
    reader, other = _Reader(read, lines), _Reader(told)
    code = _run(arguments, [write, tell], "utf-8", {})
    return Seen(code, reader.all(), other.all())


class _Reader(threading.Thread):
    """Reads a descriptor to its end, or so many lines, and closes it."""

    def __init__(self, source: int, lines: int | None = None) -> None:
        super().__init__(daemon=True)
        self._source, self._lines, self._held = source, lines, b""
        self.start()

    def run(self) -> None:
        while self._lines is None or self._held.count(b"\n") < self._lines:
            try:
                part = os.read(self._source, 1 if self._lines else 1 << 16)
            except OSError as error:  # Linux says so when the other side of a terminal is closed
                assert error.errno == errno.EIO
                break
            if not part:
                break
            self._held += part
        os.close(self._source)

    def all(self) -> bytes:
        self.join(60)
        return self._held


def _run(arguments: list[str], ends: list[int], encoding: str, env: Mapping[str, str]) -> int:
    """Call the program's own door in this process, with these as its standard output and error."""
    held = (sys.stdout, sys.stderr, signal.getsignal(signal.SIGINT))
    kept = [os.dup(number) for number in range(3)]
    plain = {"TERM": "xterm-256color", "COLUMNS": "", "LINES": "", "NO_COLOR": "", **env}
    named = {name: value for name, value in plain.items() if value}
    try:
        for number, end in zip(range(3), (ends[0], *ends), strict=True):
            os.dup2(end, number)
        for end in ends:
            os.close(end)
        with mock.patch.dict(os.environ, named), mock.patch("sys.argv", ["ftdiff", *arguments]):
            for name in plain.keys() - named.keys():
                os.environ.pop(name, None)
            sys.stdout, sys.stderr = (
                io.TextIOWrapper(
                    io.FileIO(number, "w", closefd=False), encoding, write_through=True
                )
                for number in (1, 2)
            )
            return _code(program.main)
    finally:
        sys.stdout, sys.stderr = held[:2]
        signal.signal(signal.SIGINT, held[2])
        for number, one in enumerate(kept):
            os.dup2(one, number)
            os.close(one)


def _code(call: Callable[[], None]) -> int:
    try:
        call()
    except SystemExit as done:
        assert isinstance(done.code, int)
        return done.code
    raise AssertionError("the program ends with an exit code")
