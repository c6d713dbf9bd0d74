"""Libraries of matrix products use one thread within a task of a worker, and as many as before."""

from __future__ import annotations

import os
import threading

import pytest
from threadpoolctl import threadpool_limits

from ftdiff.comparison import executors
from ftdiff.comparison.library_threads import one_thread
from tests.comparison.losing import Losing
from tests.comparison.tasks import library_threads, work


def test_tasks_that_run_at_a_time_in_one_process_share_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    first_ended, second_begun = threading.Event(), threading.Event()
    seen: list[int] = []

    def second() -> None:
        with one_thread():
            second_begun.set()
            assert first_ended.wait(10)
            seen.append(library_threads())

    with threadpool_limits(2):
        before = library_threads()
        other = threading.Thread(target=second)
        with one_thread():
            other.start()
            assert second_begun.wait(10)
            assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
        first_ended.set()
        other.join()
        assert seen == [1]
        assert library_threads() == before
    assert os.environ["OMP_NUM_THREADS"] == "3" and "MKL_NUM_THREADS" not in os.environ


def test_threads_of_this_process_leave_the_libraries_theirs() -> None:
    with threadpool_limits(2):
        before = library_threads()
        assert executors.run(work(library_threads), [[1]]) == [before]
        assert executors.run(work(library_threads), [[1]], Losing(lambda _: False)) == [1]
