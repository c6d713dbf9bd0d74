"""One way to run tasks: on any executor, with the same outcomes, and what a dead worker costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ftdiff
from ftdiff.analyses import parts
from ftdiff.analyses.lineage_sample import sample
from ftdiff.comparison import engine, executors
from ftdiff.comparison.executors import Work
from ftdiff.comparison.plan import pair
from ftdiff.errors import BadCall, FtdiffError
from tests.comparison.losing import Losing, about

Q, UP = "model.layers.3.self_attn.q_proj.weight", "model.layers.3.mlp.up_proj.weight"
BUNDLES = [[3, 1], [4], [1, 5, 9], [], [2, 6]]
SQUARES = [9, 1, 16, 1, 25, 81, 4, 36]


def square(number: int, deadly: int | None = None) -> int:
    if number == deadly:
        os._exit(7)
    return number * number


def every(piece: object) -> bool:
    return True


def work(measure: Callable[[int], Any] = square, **more: Any) -> Work[int, Any]:
    return Work("squares", measure, name=lambda n: f"n{n}", cost=lambda n: n, **more)


@pytest.fixture
def processes() -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


def test_outcomes_are_in_the_order_given_on_any_executor(processes: Executor) -> None:
    with ThreadPoolExecutor(3) as threads:
        for executor in (None, threads, processes):
            assert executors.run(work(), BUNDLES, executor) == SQUARES
    assert executors.run(work(), []) == []


def test_what_was_measured_is_kept_as_its_task_ends_and_what_was_lost_is_not() -> None:
    kept: list[tuple[int, int]] = []
    executors.run(work(), BUNDLES, Losing(lambda n: n == 5), keep=lambda *both: kept.append(both))
    assert sorted(kept) == [(n, n * n) for n in (1, 1, 2, 3, 4, 6, 9)]


def test_tasks_begin_as_given_or_by_priority() -> None:
    plain, ranked = (Losing(lambda _: False) for _ in range(2))
    assert executors.run(work(), BUNDLES, plain) == SQUARES
    assert plain.tasks == BUNDLES
    assert executors.run(work(priority=lambda n: n), BUNDLES, ranked) == SQUARES
    assert ranked.tasks == [[1, 5, 9], [2, 6], [3, 1], [4], []]


class Watcher:
    """A progress that tells phases apart."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[int, int]]] = {}

    def __call__(self, done: int, total: int) -> None:
        raise AssertionError("every phase has a name")

    def phase(self, name: str) -> Callable[[int, int], None]:
        mine = self.seen.setdefault(name, [])
        return lambda done, total: mine.append((done, total))


def test_progress_is_by_cost_and_ends_at_all_of_it_whatever_was_lost() -> None:
    seen: list[tuple[int, int]] = []
    executors.run(work(), BUNDLES, Losing(lambda n: n == 9), lambda *both: seen.append(both))
    assert {total for _, total in seen} == {31}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (31, 31)
    watcher = Watcher()
    executors.run(work(), BUNDLES, None, watcher)
    assert watcher.seen["squares"][-1] == (31, 31)


def test_each_phase_has_its_name(fixtures: Path) -> None:
    base, lora, full = (fixtures / name for name in ("base", "lora", "full"))
    for phases, call in {
        ("sums", "spectra"): lambda p: ftdiff.compare(base, lora, ["spectral_norm"], progress=p),
        ("sampling", "sums", "few bits"): lambda p: ftdiff.lineage(full, [base], progress=p),
        ("reading",): lambda p: ftdiff.similarity([lora, full], base, progress=p),
    }.items():
        watcher = Watcher()
        call(watcher)
        assert tuple(watcher.seen) == phases
        assert all(seen[-1][0] == seen[-1][1] > 0 for seen in watcher.seen.values())


def test_a_lost_task_is_tried_again_piece_by_piece() -> None:
    workers = Losing(lambda n: n == 5)
    lost = "n5: the worker died (the worker is gone\\nfor good)"
    assert executors.run(work(), BUNDLES, workers) == [*SQUARES[:4], lost, *SQUARES[5:]]
    assert workers.tasks == [*BUNDLES, [1], [5], [9], [5]]


class CommClosedError(OSError):
    """Called as Dask's is."""


class Nameless(CommClosedError):
    """A kind of it."""


@pytest.mark.parametrize("error", [CancelledError(), CommClosedError("closed"), Nameless("closed")])
def test_what_says_that_a_worker_is_gone(error: Exception) -> None:
    class Refusing(Losing):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            if 4 in args[1]:
                raise error
            return super().submit(fn, *args, **kwargs)

    found = executors.run(work(), BUNDLES, Refusing(lambda _: False))
    told = str(error) or "CancelledError"
    assert found == [*SQUARES[:2], f"n4: the worker died ({told})", *SQUARES[3:]]


def test_an_error_of_the_work_is_raised_and_nothing_is_begun_any_more() -> None:
    begun: list[int] = []

    def fail(number: int) -> int:
        begun.append(number)
        time.sleep(0.01)
        raise ZeroDivisionError("mine")

    with ThreadPoolExecutor(1) as threads, pytest.raises(ZeroDivisionError, match="mine"):
        executors.run(work(fail), [[n] for n in range(200)], threads)
    assert len(begun) < 200


def test_a_process_that_dies_costs_what_its_pool_had_not_finished(processes: Executor) -> None:
    found = executors.run(work(partial(square, deadly=9)), [[3], [1], [9, 5], [2]], processes)
    assert found[:2] == [9, 1]
    for name, outcome in zip(("n9", "n5", "n2"), found[2:], strict=True):
        assert outcome.startswith(f"{name}: the worker died (") and "terminated" in outcome


@pytest.mark.filterwarnings("ignore")  # distributed's own, on closing
def test_a_piece_that_kills_dasks_workers_is_named_and_the_rest_is_kept() -> None:
    import dask
    import distributed

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        executors.executor(dask=cluster.scheduler_address) as workers,
    ):
        deadly = work(partial(square, deadly=5))
        found = executors.run(deadly, [[3, 1], [4, 5, 9], [2]], workers)
    assert [*found[:3], *found[4:]] == [9, 1, 16, 81, 4]
    assert found[3].startswith("n5: the worker died (")


def test_tries_change_no_bit(fixtures: Path) -> None:
    opened = ftdiff.open_checkpoint(fixtures / "base")
    plan = pair(opened, ftdiff.open_tuned(fixtures / "full", opened))
    whole = engine.run(plan)
    for executor in (Losing(lambda _: False), Losing(lambda _: False, bundles=True)):
        assert engine.run(plan, executor) == whole


def test_a_lost_tensor_is_named_by_every_result(fixtures: Path) -> None:
    base, lora, full, merged = (fixtures / name for name in ("base", "lora", "full", "merged"))

    def workers() -> Executor:
        return Losing(about(UP))

    said = f"{UP}: the worker died (the worker is gone\\nfor good)"
    diff = ftdiff.compare(base, full, executor=workers())
    assert diff.about["unreadable"] == {UP: said}
    assert diff.frame["status"].value_counts().to_dict() == {"changed": 337, "unreadable": 1}
    heads = parts.heads(base, full, Losing(about(Q)))
    assert [*heads.about["unreadable"]] == [Q]
    for measure in (parts.rows, parts.columns):
        with pytest.raises(FtdiffError, match="the worker died"):
            measure(base, full, UP, workers())
    found = ftdiff.verify(base, lora, merged, workers())
    assert found.frame.set_index("tensor")["said"][UP] == said
    assert found.exit_code == 2
    alike = ftdiff.similarity([lora, full], base, ["all"], workers())
    assert alike.about["unreadable"] == {"lora": {UP: said}, "full": {UP: said}}
    grown = ftdiff.trajectory(base, [fixtures / "run"], executor=Losing(about(Q)))
    assert {name: [*tensors] for name, tensors in grown.about["unreadable"].items()} == {
        name: [Q] for name in grown.names
    }
    parent = ftdiff.lineage(full, [base], workers())
    assert parent.parent == str(base) and "1 tensors cannot be read" in parent.sentences[1]
    (sampled,) = sample([ftdiff.open_checkpoint(base)], ftdiff.open_tuned(full), Losing(every))
    assert sampled is not None and not sampled.tiles
    assert all("the worker died" in why for why in sampled.unreadable)


def test_a_lost_tensor_counts_as_one_that_cannot_be_read(fixtures: Path) -> None:
    base, tuned = fixtures / "base", [fixtures / "lora", fixtures / "full"]
    lost = ftdiff.similarity(tuned, base, ["all"], Losing(about(UP)))
    whole = ftdiff.similarity(tuned, base, ["all"])
    at = [*whole.tensors["tensor"]].index(UP)
    for name, array in whole.sums.items():
        assert lost.sums[name].shape == array.shape
        kept = [i for i in range(len(array)) if i != at]
        assert lost.sums[name][kept].tobytes() == array[kept].tobytes(), name
    assert pd.isna(lost.sums["inner"][at]).all()


def test_metrics_of_a_lost_tensor_are_missing_with_the_reason(fixtures: Path) -> None:
    class Later(Losing):
        """Loses the tensor where metrics that need more than sums are measured."""

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            self.deadly = about(UP) if isinstance(args[0], partial) else lambda _: False
            return super().submit(fn, *args, **kwargs)

    diff = ftdiff.compare(fixtures / "base", fixtures / "lora", ["spectral_norm"], Later(about(UP)))
    row = diff.frame.set_index("tensor").loc[UP]
    assert row["status"] == "changed" and pd.isna(row["spectral_norm"])
    assert "the worker died" in diff.about["spectra"][UP]["unreadable"]


@pytest.mark.filterwarnings("ignore")  # distributed's own, on closing
def test_a_real_dask_scheduler_gives_the_same_bits(fixtures: Path, tmp_path: Path) -> None:
    import distributed

    base, tuned = fixtures / "base", fixtures / "full"
    alone = ftdiff.compare(base, tuned)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        with executors.executor(dask=cluster.scheduler_address) as workers:
            diff = ftdiff.compare(base, tuned, executor=workers)
        pd.testing.assert_frame_equal(diff.frame, alone.frame)
        command = [sys.executable, "-m", "ftdiff", "compare", str(base), str(tuned)]
        options = ["--dask", cluster.scheduler_address, "--format", "json"]
        done = subprocess.run(
            [*command, *options], check=True, capture_output=True, text=True, timeout=120
        )
    rows = json.loads(done.stdout)["tensors"]
    assert [row["delta_sq"] for row in rows] == [*alone.frame["delta_sq"]]


def test_no_scheduler_is_one_line() -> None:
    with (
        pytest.raises(BadCall, match="no scheduler answers there"),
        executors.executor(dask="tcp://127.0.0.1:9"),
    ):
        pass


def test_nothing_asked_is_the_engines_own_choice() -> None:
    with executors.executor() as chosen:
        assert chosen is None
