"""Dask's workers: the serial bits, whoever dies; who differs is named; none is waited for aloud."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import ftdiff
from ftdiff.cli import ftdiff as door
from ftdiff.comparison import cluster, engine, executors, preflight
from ftdiff.comparison.cluster import Cluster
from ftdiff.comparison.threads import cores
from ftdiff.errors import BadCall
from ftdiff.tensors import local
from ftdiff.tensors.opened import opened
from tests.comparison.faulty_workers import faulty, may_mount, worker_with_copies
from tests.comparison.tasks import library_threads, pid, slow, slow_pid, square, work
from tests.conftest import write_model

# distributed's own, on closing
pytestmark = pytest.mark.filterwarnings("ignore")


#: What Dask's nanny sets to 1 for its workers, in this process too, where nothing has set it.
_MANY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Workers:
    """A scheduler with two workers, begun anew where one that was killed does not come back."""

    def __init__(self) -> None:
        self.held = ExitStack()
        self.address = ""

    def begin(self) -> None:
        import dask
        import distributed

        self.held.close()
        self.held.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": 0}))
        here = self.held.enter_context(pytest.MonkeyPatch.context())
        for name in _MANY:
            here.setenv(name, "2")
        two = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
        cluster = distributed.LocalCluster(**two, dashboard_address=None)
        self.address = self.held.enter_context(cluster).scheduler_address

    def ready(self) -> bool:
        import distributed

        try:
            with distributed.Client(self.address, timeout=20) as client:
                client.wait_for_workers(2, timeout=20)
        except (TimeoutError, OSError):
            return False
        return True


@pytest.fixture(scope="module")
def workers_held() -> Iterator[Workers]:
    workers = Workers()
    with workers.held:
        yield workers


@pytest.fixture
def address(workers_held: Workers) -> str:
    """The address of two workers that are there, whatever a test before has done to them."""
    if not workers_held.address or not workers_held.ready():
        workers_held.begin()
    return workers_held.address


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


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base of 22 MB and a fine-tune."""
    folder, draw = tmp_path_factory.mktemp("sides"), torch.Generator().manual_seed(0)
    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(11)]
    base = {name: torch.randn(1024, 1024, generator=draw).bfloat16() for name in names}
    tuned = {name: W + 2**-6 for name, W in base.items()}
    return write_model(folder / "base", base), write_model(folder / "tuned", tuned)


def test_a_comparison_of_which_a_worker_is_killed_has_the_serial_bits(
    address: str, sides: tuple[Path, Path]
) -> None:
    import distributed

    with executors.executor(dask=address) as workers, distributed.Client(address) as client:
        victim = next(iter(client.run(os.getpid).values()))
        progress: list[tuple[int, int]] = []

        def kill(done: int, total: int) -> None:
            progress.append((done, total))
            if len(progress) == 2:
                os.kill(victim, signal.SIGKILL)

        with faulty(client, seconds=0.05):
            plan = engine.paired(*sides).plan
            found = engine.run(plan, workers, kill)
        assert victim not in client.run(os.getpid).values()
    assert len(progress) >= 8
    assert progress[1][0] < progress[1][1] / 2 and progress[-1][0] == progress[-1][1]
    assert found == engine.run(plan)


def test_a_tensor_that_kills_its_worker_is_named_and_the_others_are_measured(
    address: str, sides: tuple[Path, Path]
) -> None:
    import distributed

    deadly = "model.layers.5.mlp.up_proj.weight"
    with distributed.Client(address) as client, faulty(client, deadly=deadly):
        call = ["compare", *map(str, sides), "--dask", address, "--format", "json"]
        done = CliRunner().invoke(door, call)
    assert done.exit_code == 2
    assert f"ftdiff: {deadly}: the worker died (" in done.stderr
    rows = {row["tensor"]: row for row in json.loads(done.stdout)["tensors"]}
    assert rows.pop(deadly)["status"] == "unreadable"
    alone = ftdiff.compare(*sides).frame.set_index("tensor")["delta_sq"]
    assert {n: row["delta_sq"] for n, row in rows.items()} == alone.drop(deadly).to_dict()


@pytest.mark.skipif(not may_mount(), reason="nothing may be mounted here")
def test_a_worker_that_sees_copies_on_another_device_gives_the_serial_bits(
    sides: tuple[Path, Path], tmp_path: Path
) -> None:
    import distributed

    base, tuned = shutil.copytree(sides[0].parent, tmp_path / "s") / "base", tmp_path / "s/tuned"
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as scheduler,
        worker_with_copies(scheduler.scheduler_address, tmp_path / "s", sides[0].parent) as worker,
        executors.executor(dask=scheduler.scheduler_address, wait=60) as workers,
    ):
        try:
            (there,) = scheduler.get_client().run(lambda: os.stat(base).st_dev).values()
            assert there != os.stat(base).st_dev
            diff = ftdiff.compare(base, tuned, executor=workers)
        finally:
            worker.terminate()
    pd.testing.assert_frame_equal(diff.frame, ftdiff.compare(base, tuned).frame)
    assert {*diff.frame["status"]} == {"changed"}


def test_workers_behind_an_executor_of_dask_s_own_are_asked_too(
    address: str, fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed

    with distributed.Client(address) as client, client.get_executor(pure=False) as workers:
        assert executors.count(workers) == 2
        assert cluster.known(workers) is cluster.known(workers)
        assert executors.run(work(), [[3], [4]], workers) == [9, 16]
        monkeypatch.setattr(preflight, "version", lambda: "9.9")
        with pytest.raises(BadCall, match=r"Dask: none of its 2 .* here is 9\.9"):
            ftdiff.compare(fixtures / "base", fixtures / "full", executor=workers)


@pytest.mark.skipif(cores() < 2, reason="nothing has more than one thread there")
def test_libraries_have_one_thread_in_a_task_whatever_started_the_worker(
    workers_held: Workers,
) -> None:
    import distributed

    workers_held.begin()  # what is loaded within a task has one thread for good
    address = workers_held.address
    with executors.executor(dask=address) as workers, distributed.Client(address) as client:
        assert {*client.run(library_threads).values()} == {2}
        assert executors.run(work(library_threads), [[1], [2], [3, 4]], workers) == [1] * 4
        for _ in range(100):  # whoever works there next, once the last task has left
            if (left := {*client.run(library_threads).values()}) == {2}:
                break
            time.sleep(0.1)
    assert left == {2}


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


def _be_of_version(told: str) -> None:
    preflight.version = lambda: told  # type: ignore[assignment]


@contextmanager
def _one_that_differs(address: str) -> Iterator[tuple[str, str, Any]]:
    """Lend a worker that has another version, the one that is alike, and a client."""
    import distributed

    with distributed.Client(address) as client:
        client.wait_for_workers(2, timeout=60)
        other, alike = sorted(client.nthreads())[:2]
        client.run(_be_of_version, "0.0", workers=[other])
        try:
            yield other, alike, client
        finally:
            client.run(_be_of_version, preflight.version(), workers=[other])


def test_a_worker_that_differs_is_left_out_and_named_and_the_serial_bits_come(
    address: str, sides: tuple[Path, Path]
) -> None:
    said: list[str] = []
    with (
        _one_that_differs(address) as (other, alike, client),
        executors.executor(dask=address, say=said.append) as workers,
    ):
        mine = client.run(os.getpid, workers=[alike])[alike]
        diff = ftdiff.compare(*sides, executor=workers)
        assert executors.count(workers) == 1
        found = executors.run(work(pid), [[n] for n in range(8)], workers)
    assert {*found} == {mine}
    assert said == [
        f"--dask {address}: 1 worker is left out, and 1 other measures: "
        f"{other}: it has ftdiff 0.0, and here is {preflight.version()}"
    ]
    pd.testing.assert_frame_equal(diff.frame, ftdiff.compare(*sides).frame)


def test_when_those_that_are_alike_die_whoever_comes_in_their_place_goes_on(address: str) -> None:
    with (
        _one_that_differs(address) as (_, alike, client),
        executors.executor(dask=address, say=lambda _: None) as workers,
    ):
        mine = client.run(os.getpid, workers=[alike])[alike]
        different = [*client.run(os.getpid).values()]
        different.remove(mine)
        ended: list[int] = []

        def kill(done: int, total: int) -> None:
            if not ended:
                ended.append(mine)
                os.kill(mine, signal.SIGKILL)

        found = executors.run(work(slow_pid), [[n] for n in range(30)], workers, kill)
    assert mine in found and len({*found}) == 2
    assert {*found}.isdisjoint(different)


def test_a_worker_that_was_not_asked_looks_for_itself_and_refuses_what_it_cannot_measure(
    sides: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "_PAUSE", 0.0)
    here, changes = preflight.version(), [*engine.paired(*sides).plan.changes[:2]]
    assert preflight.guarded(here, "ticket", len, changes) == 2
    with pytest.raises(BrokenExecutor, match=r"it has ftdiff .*, and here is 0\.0"):
        preflight.guarded("0.0", "ticket", len, changes)
    hidden = sides[1] / "model.safetensors"
    away = hidden.rename(hidden.with_suffix(".away"))
    opened.cache_clear()
    try:
        with pytest.raises(BrokenExecutor, match="No such file"):
            preflight.guarded(here, "ticket", len, changes)
        monkeypatch.setattr(preflight, "_ASKED", {"ticket"})
        assert preflight.guarded(here, "ticket", len, changes) == 2  # its tensors will say so
    finally:
        away.rename(hidden)


def test_a_worker_that_comes_later_and_differs_is_left_out_too(address: str) -> None:
    said: list[str] = []
    with executors.executor(dask=address, say=said.append) as workers:
        assert executors.run(work(), [[3], [4]], workers) == [9, 16]
        assert isinstance(workers, Cluster)
        with _one_that_differs(address) as (other, alike, client):
            workers._alike.discard(other)  # as if it had not been there yet
            mine = client.run(os.getpid, workers=[alike])[alike]
            found = executors.run(work(slow_pid), [[n] for n in range(8)], workers)
    assert {*found} == {mine}
    assert len(said) == 1 and f"left out, and 1 other measures: {other}: it has ftdiff" in said[0]


def test_workers_that_all_differ_are_refused_by_name(
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
        with pytest.raises(
            BadCall, match=r"none of its 2 workers can .* tcp://.*y\.safetensors: No"
        ):
            workers.ask([source, gone])
    with executors.executor(dask=address) as workers:
        assert isinstance(workers, Cluster)
        monkeypatch.setattr(preflight, "version", lambda: "9.9")
        with pytest.raises(BadCall, match=r"it has ftdiff .*, and here is 9\.9"):
            workers.ask([source])


def test_answers_are_told_in_one_line_and_not_all_of_them() -> None:
    answers: dict[str, Any] = {f"w{n}": "no such\nfile" for n in range(5)}
    told = preflight.refusal("here", answers)
    assert re.match(r"^here: none of its 5 workers can .*w2: no such\\nfile; and 2 more$", told)
    told = preflight.left_out("here", {"a": ModuleNotFoundError("No module named 'ftdiff'")}, 3)
    assert told.startswith(
        "here: 1 worker is left out, and 3 others measure: a: it lacks what this"
    )


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
    with pytest.raises(BadCall, match=r"--dask here: no worker in 0\.4 s"):
        Cluster(Deserted(0), "--dask here", 0.4, said.append).begin()
    assert said == ["--dask here: no worker for 0.1 s; waiting for one until 0.4 s are over"]
    Cluster(Deserted(*[0] * 20, 4), "--dask here", None, said.append).begin()
    assert said[1:] == [
        "--dask here: no worker for 0.1 s; waiting for one (--wait SECONDS gives up)"
    ]


def test_a_scheduler_that_is_gone_is_not_waited_for() -> None:
    client = Deserted(0)
    client.status = "closed"
    assert Cluster(client, "--dask here").stranded() == "--dask here: the scheduler is gone"
