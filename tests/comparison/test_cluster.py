"""Dask's workers: the serial bits, whoever dies; who differs is named; none is waited for aloud."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ftdiff
from ftdiff.comparison import cluster, executors, preflight
from ftdiff.comparison.cluster import Cluster
from ftdiff.comparison.threads import cores
from ftdiff.errors import BadCall
from ftdiff.tensors import local
from tests.comparison.tasks import library_threads, slow, square, work

# distributed's own, on closing
pytestmark = pytest.mark.filterwarnings("ignore")


#: What Dask's nanny sets to 1 for its workers; other ways of starting them do not.
_MANY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    import dask
    import distributed

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        dask.config.set({"distributed.nanny.pre-spawn-environ": dict.fromkeys(_MANY, "2")}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as workers,
    ):
        yield workers.scheduler_address


def test_a_real_scheduler_gives_the_same_bits(address: str, fixtures: Path) -> None:
    base, tuned = fixtures / "base", fixtures / "full"
    alone = ftdiff.compare(base, tuned)
    with executors.executor(dask=address) as workers:
        assert executors.count(workers) == 2
        diff = ftdiff.compare(base, tuned, executor=workers)
    pd.testing.assert_frame_equal(diff.frame, alone.frame)
    command = [sys.executable, "-m", "ftdiff", "compare", str(base), str(tuned)]
    options = ["--dask", address, "--wait", "60", "--format", "json"]
    done = subprocess.run(
        [*command, *options], check=True, capture_output=True, text=True, timeout=120
    )
    rows = json.loads(done.stdout)["tensors"]
    assert [row["delta_sq"] for row in rows] == [*alone.frame["delta_sq"]]


def test_workers_behind_an_executor_of_dask_s_own_are_asked_too(
    address: str, fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed

    with distributed.Client(address) as client, client.get_executor(pure=False) as workers:
        assert executors.count(workers) == 2
        assert cluster.known(workers) is cluster.known(workers)
        assert executors.run(work(), [[3], [4]], workers) == [9, 16]
        monkeypatch.setattr(preflight, "version", lambda: "9.9")
        with pytest.raises(BadCall, match=r"Dask: 2 of 2 .* here is 9\.9"):
            ftdiff.compare(fixtures / "base", fixtures / "full", executor=workers)


@pytest.mark.skipif(cores() < 2, reason="nothing has more than one thread there")
def test_libraries_have_one_thread_in_a_task_whatever_started_the_worker(address: str) -> None:
    import distributed

    with executors.executor(dask=address) as workers, distributed.Client(address) as client:
        assert {*client.run(library_threads).values()} == {2}
        assert executors.run(work(library_threads), [[1], [2], [3, 4]], workers) == [1] * 4
        assert {*client.run(library_threads).values()} == {2}  # whoever works there next


def test_a_worker_that_is_killed_costs_nothing(address: str) -> None:
    import distributed

    with executors.executor(dask=address) as workers, distributed.Client(address) as client:
        pids = client.run(os.getpid)

        def kill(done: int, total: int) -> None:
            if pids:
                os.kill(pids.popitem()[1], signal.SIGKILL)
                pids.clear()

        found = executors.run(work(slow), [[n] for n in range(1, 31)], workers, kill)
    assert found == [n * n for n in range(1, 31)]


def test_a_piece_that_kills_workers_is_named_and_the_rest_is_kept(address: str) -> None:
    with executors.executor(dask=address) as workers:
        deadly = work(partial(square, deadly=5))
        found = executors.run(deadly, [[3, 1], [4, 5, 9], [2]], workers)
    assert [*found[:3], *found[4:]] == [9, 1, 16, 81, 4]
    assert found[3].startswith("n5: the worker died (")


def test_workers_that_differ_are_named(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"bytes")
    with executors.executor(dask=address) as workers:
        assert isinstance(workers, Cluster)
        source = local(file)
        workers.ask([source])
        other = tmp_path / "y.safetensors"
        other.write_bytes(b"bytes")
        gone = local(other)
        other.unlink()
        with pytest.raises(BadCall, match=r"\d of \d workers cannot .* tcp://.*y\.safetensors: No"):
            workers.ask([source, gone])
        monkeypatch.setattr(preflight, "version", lambda: "9.9")
        workers.ask([source])  # each file is asked for once
        with pytest.raises(BadCall, match=r"it has ftdiff .*, and here is 9\.9"):
            workers.ask([local(__file__)])


def test_answers_are_told_in_one_line_and_not_all_of_them() -> None:
    preflight.check("here", {"a": None})
    answers = {f"w{n}": "no such\nfile" for n in range(5)} | {"good": None}
    with pytest.raises(BadCall, match=r"^here: 5 of 6 .*w2: no such\\nfile; and 2 more$"):
        preflight.check("here", answers)
    with pytest.raises(BadCall, match="it lacks what this ftdiff needs"):
        preflight.check("here", {"a": ModuleNotFoundError("No module named 'ftdiff'")})


class Deserted:
    """A client whose workers come and go as they are told."""

    status = "running"

    def __init__(self, *threads: int) -> None:
        self.left = [*threads]

    def get_executor(self, **_: Any) -> None:
        return None

    def nthreads(self) -> dict[str, int]:
        now = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return {"one": now} if now else {}


def test_no_worker_is_said_once_and_given_up_when_that_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "_QUIET", 0.1)
    monkeypatch.setattr(cluster, "_LOOK", 0.05)
    said: list[str] = []
    with pytest.raises(BadCall, match="--dask here: no worker in 0 s"):
        Cluster(Deserted(0), "--dask here", 0.4, said.append).begin()
    assert said == ["--dask here: no worker for 0 s; waiting for one until 0 s are over"]
    Cluster(Deserted(*[0] * 20, 4), "--dask here", None, said.append).begin()
    assert said[1:] == ["--dask here: no worker for 0 s; waiting for one (--wait SECONDS gives up)"]


def test_a_scheduler_that_is_gone_is_not_waited_for() -> None:
    client = Deserted(0)
    client.status = "closed"
    assert Cluster(client, "--dask here").stranded() == "--dask here: the scheduler is gone"
