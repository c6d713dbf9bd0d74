"""Dask's workers that are slow, or die of one tensor, also when they are started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import distributed

from ftdiff.comparison import spans


class Faulty(distributed.WorkerPlugin):
    """Measuring a span takes longer there, and ends the process if it is of a deadly tensor."""

    name = "faulty"

    def __init__(self, seconds: float = 0.0, deadly: str = "") -> None:
        self.seconds, self.deadly = seconds, deadly

    def setup(self, worker: distributed.Worker) -> None:
        measure = self._sound = spans.measure_span, spans.measure_spans

        def measure_span(span: spans.Span) -> Any:
            if span.change.address.name == self.deadly:
                os._exit(7)
            time.sleep(self.seconds)
            return measure[0](span)

        spans.measure_span = measure_span
        spans.measure_spans = lambda several: [*map(measure_span, several)]

    def teardown(self, worker: distributed.Worker) -> None:
        spans.measure_span, spans.measure_spans = self._sound


@contextmanager
def faulty(client: distributed.Client, **faults: Any) -> Iterator[None]:
    """Have all workers be so in this block."""
    client.register_plugin(Faulty(**faults))
    try:
        yield
    finally:
        client.unregister_worker_plugin(Faulty.name)


#: What starts a process that has mounts of its own.
APART = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]


def may_mount() -> bool:
    """Say whether this system lets us mount something for one process alone."""
    call = [*APART, "mount", "-t", "tmpfs", "none", "/tmp"]
    try:
        return not subprocess.run(call, capture_output=True, check=False).returncode
    except OSError:
        return False


def worker_with_copies(address: str, folder: Path, copied: Path) -> subprocess.Popen[bytes]:
    """Start a worker that sees copies of a folder's files under its path, on another device."""
    script = 'mount -t tmpfs none "$1" && cp -r "$2/." "$1" && shift 2 && exec "$@"'
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address]
    options = ["--no-nanny", "--no-dashboard", "--nthreads", "1"]
    return subprocess.Popen(
        [*APART, "sh", "-c", script, "sh", str(folder), str(copied), *worker, *options],
        stderr=subprocess.DEVNULL,
    )
