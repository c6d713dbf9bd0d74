"""Processes that are timed and watched, on files that are warm: what the other modules share."""

from __future__ import annotations

import mmap
import os
import resource
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


class Failed(SystemExit):
    """A process that was timed did not end well."""


@dataclass
class Run:
    """One process: seconds of wall and processor time, private bytes at most, what it printed."""

    wall: float
    cpu: float
    private: int
    printed: str


def warm(files: list[Path]) -> None:
    """Drop the files from the page cache and read them in again, in large requests."""
    buffer = mmap.mmap(-1, 16 << 20)
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        while os.readv(handle, [buffer]):
            pass
        os.close(handle)


def run(command: list[str]) -> Run:
    """Run a process and watch its private memory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output)
        private = 0
        while process.poll() is None:
            private = max(private, _private(process.pid))
            time.sleep(0.005)
        wall = time.perf_counter() - start
        if process.returncode:
            raise Failed(f"{command[:4]} exited with {process.returncode}")
        output.seek(0)
        printed = "" if command[0] == "cat" else output.read().decode()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall, cpu, private, printed)


def _private(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
    return int(found[0]) * 1024 if found else 0


def timed(one: Run) -> tuple[float, float]:
    """Return seconds of wall and processor: what the process timed itself, where it did."""
    parts = one.printed.split()
    if len(parts) == 2:
        return float(parts[0]), float(parts[1])
    return one.wall, one.cpu
