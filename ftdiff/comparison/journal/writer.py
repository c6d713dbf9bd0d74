"""One run at a time writes into a folder; another is told which it is, by host and process."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ftdiff.errors import BadCall, BadFile, one_line

if sys.platform != "win32":  # there the database locks itself, and cannot say for whom
    import fcntl

_LONGEST = 200


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock file while this lasts; the system lets go of it however the process ends.

    Raises
    ------
    BadCall
        Another process holds it: on which host, under which number.
    BadFile
        It cannot be written.
    """
    if sys.platform == "win32":
        yield
        return
    handle = _locked(path)
    try:
        with suppress(OSError):  # a full disk has no room for the name: the lock holds all the same
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{socket.gethostname()}, process {os.getpid()}".encode(), 0)
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _locked(path: Path) -> int:
    assert sys.platform != "win32"
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise BadFile(f"{path}: cannot be written ({error.strerror or error})") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, path):
                return handle
            os.close(handle)  # whoever held it has just removed it
        except BlockingIOError as error:
            who = os.pread(handle, _LONGEST, 0).decode("utf-8", "replace") or "another process"
            os.close(handle)
            said = f"{path.parent}: another run writes there ({one_line(who)})"
            raise BadCall(f"{said}; wait for it, or name another folder") from error
        except OSError:  # a file system without locks
            return handle


def _is_at(handle: int, path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(handle), os.stat(path))
    return False
