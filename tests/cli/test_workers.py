"""Every command that reads weights measures where it is told to, and prints the same."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ftdiff.cli import COMMANDS as COMMAND_NAMES
from ftdiff.cli import ftdiff as door
from ftdiff.cli import progress
from ftdiff.cli.progress import Bars
from ftdiff.comparison import executors
from tests.conftest import FIXTURES

BASE, LORA, FULL, MERGED, RUN = (
    FIXTURES / name for name in ("base", "lora", "full", "merged", "run")
)
UP = "model.layers.3.mlp.up_proj.weight"
PHASES = {"sums", "few bits", "structure", "spectra", "scales", "factors", "reading", "sampling"}
#: Every command that reads weights.
COMMANDS: Sequence[Sequence[str | Path]] = [
    ("compare", BASE, FULL),
    ("compare", BASE, LORA, "-m", "stable_rank"),
    ("compare", BASE, LORA, MERGED, "--facet"),
    ("similarity", "--base", BASE, LORA, MERGED),
    ("trajectory", BASE, RUN / "checkpoint-80", RUN / "checkpoint-160"),
    ("verify", BASE, LORA, MERGED),
    ("recover", BASE, FULL),
    ("lineage", FULL, BASE, MERGED),
    ("merge-of", FULL, BASE, MERGED),
    ("parts", BASE, FULL),
    ("parts", BASE, FULL, "--by", "token"),
    ("parts", BASE, FULL, UP, "--by", "row"),
    ("parts", BASE, FULL, UP, "--by", "column"),
    ("audit", BASE, FULL),
]


def printed(command: Sequence[str | Path], *more: str) -> tuple[int, str]:
    done = CliRunner().invoke(door, [*map(str, command), *more])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    import distributed

    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.filterwarnings("ignore")  # distributed's own, on closing
@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(map(str, words[:1])))
def test_a_command_prints_the_same_wherever_it_measures(
    command: Sequence[str | Path], scheduler: str
) -> None:
    usual = printed(command)
    assert usual[0] < 2 and len(usual[1].splitlines()) > 1
    for where in (("-j", "2"), ("--dask", scheduler)):
        assert printed(command, *where) == usual, where


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(map(str, words[:1])))
def test_all_that_a_command_measures_is_where_it_is_told_to_and_watched(
    command: Sequence[str | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watcher:
        def __call__(self, done: int, total: int) -> None:
            raise AssertionError("every phase has a name")

        def phase(self, name: str) -> Any:
            phases.append(name)
            return lambda done, total: None

    def run(work: Any, tasks: Any, executor: Any = None, progress: Any = None) -> Any:
        where.append(getattr(executor, "_max_workers", None))
        watched.append(type(progress))  # nobody watches a look at a few rows
        return measure(work, tasks, executor, progress)

    phases: list[str] = []
    where: list[Any] = []
    watched: list[type] = []
    measure = executors.run
    monkeypatch.setattr(executors, "run", run)
    monkeypatch.setattr(progress, "bars", lambda: nullcontext(Watcher()))
    printed(command, "-j", "3")
    assert where and set(where) == {3}
    assert Watcher in watched and set(watched) <= {Watcher, type(None)}
    assert phases and set(phases) <= PHASES


def test_every_command_that_reads_weights_takes_workers() -> None:
    of_claims = {"attest", "verify-claim"}  # which need a key: see test_claims
    reading = {str(command[0]) for command in COMMANDS} | of_claims
    taking = set()
    for name in COMMAND_NAMES:
        module = name.replace("-", "_")
        command = importlib.import_module(f"ftdiff.cli.{module}").__dict__[module]
        options = {option.name for option in command.params}
        assert ("jobs" in options) == ("dask" in options)
        if "jobs" in options:
            taking.add(name)
    assert taking == reading


def test_each_phase_has_a_bar_and_one_that_comes_again_begins_anew() -> None:
    from rich.progress import Progress

    with Progress(disable=True) as shown:
        bars = Bars(shown)
        bars.phase("sums")(5, 5)
        bars.phase("spectra")(7, 9)
        sums, spectra = shown.tasks
        assert (sums.description, sums.completed, sums.total) == ("sums", 5, 5)
        assert (spectra.description, spectra.completed, spectra.total) == ("spectra", 7, 9)
        bars.phase("spectra")
        assert [task.completed for task in shown.tasks] == [5, 0]
        bars(1, 2)
        bars(2, 2)
        assert [task.description for task in shown.tasks] == ["sums", "spectra", "measuring"]
