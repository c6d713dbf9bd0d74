"""One command in a fork, with its memory and its time limited, and what came of it."""

from __future__ import annotations

import gc
import os
import re
import resource
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from ftdiff.__main__ import main

#: CPU-seconds, seconds, and bytes over what the process has when it forks.
MOST_CPU, MOST_SECONDS, MOST_MEMORY = 4, 300, 400 << 20
_CRASHED = 70
#: What steers a terminal; a line may end, and a table may have tabs.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Outcome:
    """What came of one case.

    Attributes
    ----------
    code
        The command's exit code; negative for a signal.
    wrong
        What must not be: a traceback's last line, a signal, several lines; "" if nothing.
    said
        What was printed, errors after results.
    cpu, memory
        Seconds, and bytes over what the fork began with; pages of libraries that it is the first
        to touch count.
    """

    code: int
    wrong: str
    said: str
    cpu: float
    memory: int


def run(command: list[str], folder: Path) -> Outcome:
    """Run a command of ftdiff in a fork; what it prints goes to files in a folder."""
    child = os.fork()
    if not child:
        _become(command, folder)
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    out, err = ((folder / name).read_text("utf-8", "replace") for name in ("out", "err"))
    memory = max(0, used.ru_maxrss * 1024 - int((folder / "held").read_text()))
    cpu = used.ru_utime + used.ru_stime
    return Outcome(code, _wrong(code, out, err, cpu), out + err, cpu, memory)


def _wrong(code: int, out: str, err: str, cpu: float) -> str:
    if code < 0:
        return f"signal {signal.Signals(-code).name} after {cpu:.1f} CPU-s"
    lines = err.splitlines()
    if code == _CRASHED:
        return lines[-1] if lines else "a crash without a word"
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if "Traceback" in err or "Exception ignored" in err:
        return "a traceback, and an exit code as if nothing were"
    if "not enough memory" in out + err:
        return "memory"
    if code == 2 and not (lines and "ftdiff: " in err):
        return f"exit 2 and no word of ftdiff: {err[-200:]!r}"
    if sum(line.startswith("ftdiff: ") for line in lines) > 1:
        return "several lines of error"
    found = _CONTROL.search(out + err)
    return f"{found.group()!r} is printed" if found else ""


def _held(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


def _become(command: list[str], folder: Path) -> None:
    """Be the command; never return."""
    code = _CRASHED
    try:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        (folder / "held").write_text(str(_held("VmRSS")))
        signal.alarm(MOST_SECONDS)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU, MOST_CPU + 1))
        most = _held("VmData") + MOST_MEMORY
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        gc.get_freeze_count = lambda: 1  # the true one walks over all that is frozen
        sys.argv = ["ftdiff", *command]
        main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def wait_for_quiet() -> None:
    """Wait until this process is one thread, so that a fork of it is whole."""
    until = time.monotonic() + 5
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < until:
        time.sleep(0.01)
