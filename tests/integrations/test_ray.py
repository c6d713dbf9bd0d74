"""Ray's workers as an executor, held against a stand-in of the calls that it makes of Ray."""

from __future__ import annotations

import sys
from functools import partial

import pandas as pd
import pytest

import ftdiff
from ftdiff.comparison import executors
from ftdiff.errors import MissingExtra
from ftdiff.integrations import RayExecutor
from tests.comparison.tasks import square, work
from tests.conftest import FIXTURES
from tests.integrations.ray_stub import Ray


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
