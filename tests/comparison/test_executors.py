"""One way to run tasks: on any executor, with the same outcomes, and what a dead worker costs."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ftdiff
from ftdiff.analyses import parts
from ftdiff.analyses.lineage_sample import sample
from ftdiff.comparison import cluster, engine, executors
from ftdiff.comparison.plan import pair
from ftdiff.deltas.moments import Moments
from ftdiff.errors import BadCall, FtdiffError
from ftdiff.tensors import Source
from tests.comparison.losing import Losing, about
from tests.comparison.tasks import Watcher, square, work

Q, UP = "model.layers.3.self_attn.q_proj.weight", "model.layers.3.mlp.up_proj.weight"
BUNDLES = [[3, 1], [4], [1, 5, 9], [], [2, 6]]
DIED = "n9: the worker died (its process ended with exit code 7)"
SQUARES = [9, 1, 16, 1, 25, 81, 4, 36]


def every(piece: object) -> bool:
    return True


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
        ("sampling", "sums", "few bits", "structure"): lambda p: ftdiff.lineage(
            full, [base], progress=p
        ),
        ("reading",): lambda p: ftdiff.similarity([lora, full], base, progress=p),
    }.items():
        watcher = Watcher()
        call(watcher)
        assert tuple(watcher.seen) == phases
        assert all(seen[-1][0] == seen[-1][1] > 0 for seen in watcher.seen.values() if seen)


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


def test_a_process_that_dies_costs_the_piece_that_it_died_of_though_its_pool_is_broken(
    processes: Executor,
) -> None:
    found = executors.run(work(partial(square, deadly=9)), [[3], [1], [9, 5], [2]], processes)
    assert found == [9, 1, DIED, 25, 4]


def test_tries_change_no_bit(fixtures: Path) -> None:
    opened = ftdiff.open_checkpoint(fixtures / "base")
    plan = pair(opened, ftdiff.open_tuned(fixtures / "full", opened))
    whole = engine.run(plan)
    for executor in (Losing(lambda _: False), Losing(lambda _: False, bundles=True)):
        assert engine.run(plan, executor) == whole


def test_workers_that_see_copies_of_the_files_give_the_same_bits(
    fixtures: Path, tmp_path: Path
) -> None:
    """As on another machine: the path is the same, and device, inode and time are others."""

    class Elsewhere(Losing):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            travelling = pickle.dumps((fn, args))
            if not self.tasks:
                for file in tmp_path.rglob("*.safetensors"):
                    os.link(file, file.with_suffix(".kept"))  # or its number may be given again
                    shutil.copyfile(file, file.with_suffix(".copy"))
                    os.replace(file.with_suffix(".copy"), file)
            there, given = pickle.loads(travelling)
            return super().submit(there, *given, **kwargs)

    shutil.copytree(fixtures / "base", tmp_path / "base")
    shutil.copytree(fixtures / "full", tmp_path / "full")
    opened = ftdiff.open_checkpoint(tmp_path / "base")
    plan = pair(opened, ftdiff.open_tuned(tmp_path / "full", opened))
    whole = engine.run(plan)
    assert engine.run(plan, Elsewhere(lambda _: False), limit=100_000) == whole
    assert all(isinstance(one, Moments) for one in whole)


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


class Deserted(Losing):
    """Runs some tasks and no more: its workers are gone, and none comes."""

    def __init__(self, served: int) -> None:
        super().__init__(lambda _: False)
        self.served, self.asked = served, 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.served -= 1
        self.asked += 1
        return super().submit(fn, *args, **kwargs) if self.served >= 0 else Future()

    def stranded(self) -> str | None:
        return "no worker in 5 s"


def test_what_nobody_is_left_to_measure_is_named_and_the_rest_is_kept() -> None:
    workers, kept = Deserted(2), []
    started = time.monotonic()
    found = executors.run(work(), BUNDLES, workers, keep=lambda n, _: kept.append(n))
    assert found == [9, 1, 16, *(f"n{n}: no worker in 5 s" for n in (1, 5, 9, 2, 6))]
    assert kept == [3, 1, 4] and time.monotonic() - started < 10
    assert workers.asked == len(BUNDLES)  # nothing is handed out again


def test_an_executor_is_asked_for_the_files_before_they_are_read(fixtures: Path) -> None:
    class Asking(Losing):
        asked: list[Source]

        def ask(self, files: list[Source]) -> None:
            self.asked = files
            assert self.tasks == []

    workers = Asking(lambda _: False)
    opened = ftdiff.open_checkpoint(fixtures / "base")
    engine.run(pair(opened, ftdiff.open_tuned(fixtures / "full", opened)), workers)
    files = [Path(file.name) for file in workers.asked]
    assert {file.parent.name for file in files} == {"base", "full"}
    assert len(files) == len({*files}) == 4


def test_a_task_is_a_share_of_the_whole_between_two_bounds() -> None:
    class Eight(Losing):
        threads = 8

    far, mib = Eight(lambda _: False), 1 << 20
    assert executors.task_bytes(22_000_000, far) == mib
    assert executors.task_bytes(640 * mib, far) == 10 * mib
    assert executors.task_bytes(1 << 40, far) == 256 * mib
    with ThreadPoolExecutor(8) as near:
        assert executors.task_bytes(1 << 40, near) == 16 * mib


def test_no_scheduler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_ANSWER", "1s")
    with (
        pytest.raises(BadCall, match="no scheduler answers there"),
        executors.executor(dask="tcp://127.0.0.1:9"),
    ):
        pass


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"threads": 0}, "-j 0: at least one thread"),
        ({"processes": 0}, "--processes 0: at least one process"),
        ({"threads": 1, "processes": 1}, "not both"),
        ({"processes": 1, "dask": "tcp://127.0.0.1:9"}, "not both"),
        ({"wait": 3.0}, "--wait is for the workers of a Dask cluster"),
    ],
)
def test_a_call_that_contradicts_itself_is_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadCall, match=said), executors.executor(**given):
        pass


def test_nothing_asked_is_the_engines_own_choice() -> None:
    with executors.executor() as chosen:
        assert chosen is None
