"""Ray's workers as an executor, held against a stand-in of the calls that it makes of Ray."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import ftdiff
from ftdiff.comparison import executors
from ftdiff.errors import MissingExtra
from ftdiff.integrations import RayExecutor
from tests.comparison.tasks import square, work
from tests.conftest import FIXTURES


class WorkerCrashedError(Exception):
    """Called as Ray's is."""


class Ref:
    """What a task will have given."""

    def __init__(self, outcome: Future[Any]) -> None:
        self._outcome = outcome

    def future(self) -> Future[Any]:
        return self._outcome


class Ray(SimpleNamespace):
    """A cluster that runs a task when it is handed out; one that is given 5 ends its worker."""

    def __init__(self, cpus: float, *, running: bool = True) -> None:
        super().__init__(cpus=cpus, running=running, made=[])

    def is_initialized(self) -> bool:
        return bool(self.running)

    def init(self) -> None:
        self.running = True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": self.cpus} if self.cpus else {}

    def remote(self, *function: Callable[..., Any], **options: Any) -> Any:
        if options:
            assert not function
            return lambda function: self._made(function, options)
        return self._made(*function, {})

    def _made(self, function: Callable[..., Any], options: dict[str, Any]) -> Any:
        self.made.append((function, options))
        return SimpleNamespace(remote=lambda *args: Ref(self._run(function, args)))

    def _run(self, function: Callable[..., Any], args: Any) -> Future[Any]:
        there, (fn, given, more) = pickle.loads(pickle.dumps((function, args)))
        outcome: Future[Any] = Future()
        try:
            if 5 in given[1]:
                raise WorkerCrashedError("The worker died")
            outcome.set_result(there(fn, given, more))
        except Exception as error:  # noqa: BLE001 - as Ray's: it is raised where it is asked for
            outcome.set_exception(error)
        return outcome


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    stub = Ray(6.5)
    monkeypatch.setitem(sys.modules, "ray", stub)
    return stub


def test_a_comparison_on_ray_has_the_serial_bits(ray: Ray) -> None:
    base, tuned = FIXTURES / "base", FIXTURES / "lora"
    diff = ftdiff.compare(base, tuned, executor=RayExecutor())
    pd.testing.assert_frame_equal(diff.frame, ftdiff.compare(base, tuned).frame)
    assert len(ray.made) == 1  # one function for all tasks


def test_threads_are_what_the_cluster_has_for_tasks_of_that_size(ray: Ray) -> None:
    assert executors.count(RayExecutor()) == 6
    assert executors.count(RayExecutor(num_cpus=2, max_retries=0)) == 3
    assert ray.made[-1][1] == {"num_cpus": 2, "max_retries": 0}
    assert RayExecutor(num_cpus=0).threads == 6
    ray.cpus = 0
    assert executors.count(RayExecutor()) == 1


def test_ray_is_started_where_it_is_not(ray: Ray) -> None:
    ray.running = False
    RayExecutor()
    assert ray.running


def test_a_worker_that_dies_costs_what_it_died_of_and_an_error_of_the_work_is_raised(
    ray: Ray,
) -> None:
    found = executors.run(work(square), [[3, 1], [4, 5, 9]], RayExecutor())
    assert found == [9, 1, 16, "n5: the worker died (The worker died)", 81]
    with pytest.raises(ZeroDivisionError):
        executors.run(work(partial(divmod, 1)), [[0]], RayExecutor())


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"ftdiff\[ray\]"):
        RayExecutor()
