"""A process that dies takes its own task with it, and nobody else's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

import ftdiff
from ftdiff.comparison import executors, processes
from ftdiff.comparison.processes import Processes
from tests.comparison.tasks import ended, square, stalled, unpicklable, wanting, work


@pytest.fixture(scope="module")
def workers() -> Iterator[Processes]:
    with Processes(2) as pool:
        yield pool


def test_processes_give_the_same_bits(fixtures: Path, workers: Processes) -> None:
    base, tuned = fixtures / "base", fixtures / "full"
    diff = ftdiff.compare(base, tuned, executor=workers)
    pd.testing.assert_frame_equal(diff.frame, ftdiff.compare(base, tuned).frame)


def test_a_piece_that_ends_its_process_is_named_and_the_rest_is_kept(workers: Processes) -> None:
    tasks = [[3], [1, 9, 5], [2], *([n] for n in range(20, 40))]
    found = executors.run(work(partial(square, deadly=9)), tasks, workers)
    assert found[:5] == [9, 1, "n9: the worker died (its process ended with exit code 7)", 25, 4]
    assert found[5:] == [n * n for n in range(20, 40)]
    with pytest.raises(BrokenExecutor, match="its process was ended by SIGKILL"):
        workers.submit(ended, signal.SIGKILL).result()
    assert workers.submit(square, 3).result() == 9


def test_what_is_raised_there_is_raised_here(workers: Processes) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        workers.submit(int, "x").result()
    with pytest.raises(RuntimeError, match="Wanting: 1 and 2"):
        workers.submit(wanting).result()
    with pytest.raises(TypeError, match="cannot be pickled"):
        workers.submit(unpicklable).result()
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        workers.submit(lambda: 1).result()
    assert workers.submit(square, 3).result() == 9


def test_a_process_has_one_thread_for_products(workers: Processes) -> None:
    here = os.environ.get("OPENBLAS_NUM_THREADS")
    assert workers.submit(os.getenv, "OPENBLAS_NUM_THREADS").result() == "1"
    assert os.environ.get("OPENBLAS_NUM_THREADS") == here
    assert executors.count(workers) == 2


def test_an_interrupt_ends_what_runs(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), executors.executor(processes=1) as pool:
        assert pool is not None
        running = pool.submit(stalled, tmp_path / "begun")
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert isinstance(running.exception(10), BrokenExecutor)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ([None, None, 7], "its process ended with exit code 7"),
        ([None, -9], "its process was ended by SIGKILL"),
        ([None], "its process ended"),
    ],
)
def test_an_exit_code_that_another_thread_took_is_waited_for(
    seen: list[int | None], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reaped:
        """A process of which another thread asks at the same time."""

        def join(self) -> None: ...

        @property
        def exitcode(self) -> int | None:
            return seen.pop(0) if len(seen) > 1 else seen[0]

    monkeypatch.setattr(processes, "_KEPT", 0.05)
    one = processes._Process()
    one._process = Reaped()
    assert one._how_it_ended() == told
