"""What a run has measured is kept: another run measures what is missing, to the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import ftdiff
from ftdiff.cli import ftdiff as command
from ftdiff.comparison import engine, executors, journal
from ftdiff.comparison.executors import Work
from ftdiff.comparison.journal import Journal, database, values
from ftdiff.comparison.journal.database import Damaged, Database, Failed
from ftdiff.comparison.journal.keys import Keys, Unkeyed
from ftdiff.comparison.plan import Change, Plan, pair
from ftdiff.comparison.spans import Span
from ftdiff.comparison.structure import looks as structure_looks
from ftdiff.comparison.structure.matrices import Matrix
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import TILE
from ftdiff.errors import BadCall, BadFile
from tests.cases.situations import merged, write_base
from tests.conftest import FIXTURES, write_model

BASE, LORA, FULL = FIXTURES / "base", FIXTURES / "lora", FIXTURES / "full"


class Counting(ThreadPoolExecutor):
    """Counts the pieces that it is given, by name, and their tiles."""

    def __init__(self, *kinds: type) -> None:
        super().__init__(1)
        self.kinds = kinds or (Span, Change, Matrix)
        self.pieces: Counter[str] = Counter()
        self.tiles = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        for piece in args[1]:
            if not isinstance(piece, self.kinds):
                continue  # a question, not a measurement
            change = getattr(piece, "change", piece)
            self.pieces[change.address.name] += 1
            self.tiles += len(getattr(piece, "tiles", ()))
        future.set_result(fn(*args, **kwargs))
        return future


def stopping(tasks: int) -> Callable[[int, int], None]:
    """Return a progress that is interrupted when so many tasks have ended."""
    ended: list[int] = []

    def progress(done: int, _: int) -> None:
        ended.append(done)
        if len(ended) >= tasks:
            raise KeyboardInterrupt

    return progress


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def keep(tmp_path: Path, said: list[str]) -> Callable[..., Any]:
    """Keep what is measured, in one place."""
    return partial(journal.kept, tmp_path / "out" / "journal.sqlite", said.append)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan of two tensors of several tiles, and of a small one."""
    folder, draw = tmp_path_factory.mktemp("large"), torch.Generator().manual_seed(0)
    names = ("model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight")
    base = {name: torch.randn(5, TILE - 3, generator=draw).bfloat16() for name in names}
    base["model.norm.weight"] = torch.ones(8)
    tuned = {name: W + torch.randn(W.shape, generator=draw).bfloat16() for name, W in base.items()}
    sides = [write_model(folder / side, held) for side, held in (("b", base), ("t", tuned))]
    return pair(ftdiff.open_checkpoint(sides[0]), ftdiff.open_tuned(sides[1]))


def undisturbed(text: str) -> dict[str, Any]:
    document = json.loads(text)
    del document["about"]["created"]
    return document


@pytest.mark.parametrize(("first", "then"), [(2, 64), (3, 2), (4, 3)], ids=str)
def test_any_cut_of_the_work_resumes_any_other(
    first: int, then: int, large: Plan, keep: Callable[..., Any], said: list[str]
) -> None:
    whole = engine.run(large)
    tiles = sum(change.recipe.tiles(change.base) for change in large.changes)
    with pytest.raises(KeyboardInterrupt), keep():
        engine.run(large, Counting(), stopping(1), limit=first * 2 * TILE)
    resumed = Counting()
    with keep():
        assert engine.run(large, resumed, limit=then * 2 * TILE) == whole
    assert 0 < resumed.tiles < tiles
    again = Counting()
    with keep():
        assert engine.run(large, again) == whole
    assert not again.pieces


def test_an_interrupted_run_says_how_far_it_came_and_that_it_goes_on(
    keep: Callable[..., Any], said: list[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), keep():
        raise KeyboardInterrupt
    assert said == []  # nothing is kept yet
    plan = pair(ftdiff.open_checkpoint(BASE), ftdiff.open_tuned(FULL))
    with pytest.raises(KeyboardInterrupt), keep():
        engine.run(plan, None, stopping(3), limit=1 << 14)
    kept, every = int(said[0].split()[0]), len(plan.changes)
    assert said == [f"{kept} of {every} tensors are kept; the same command goes on"]
    assert 0 < kept < every
    rest = Counting()
    with keep():
        ftdiff.compare(BASE, FULL, executor=rest)
    assert said[1].startswith(f"{kept} of {every} tensors are kept from an earlier run (sums)")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny base, and a LoRA merged into it."""
    folder = tmp_path_factory.mktemp("small")
    return write_base(folder / "base"), write_model(folder / "tuned", merged())


def test_what_is_asked_later_is_measured_and_no_more(
    small: tuple[Path, Path], keep: Callable[..., Any]
) -> None:
    apart = ftdiff.compare(*small, ["spectral", "relative_norm"])
    sums, spectral, geometry = Counting(), Counting(), Counting()
    with keep():
        ftdiff.compare(*small, executor=sums)
    with keep():
        ftdiff.compare(*small, ["spectral"], spectral)
    with keep():
        last = ftdiff.compare(*small, ["geometry", "spectral", "relative_norm"], geometry)
    moved = {*apart.frame.loc[apart.frame["status"] == "changed", "tensor"]}
    assert {*sums.pieces} >= moved
    assert spectral.pieces == geometry.pieces == dict.fromkeys(moved, 1)
    for name in apart.columns:
        assert [*map(str, apart.columns[name])] == [*map(str, last.columns[name])], name
    assert last.about["spectra"].keys() == apart.about["spectra"].keys()


def test_looks_at_the_structure_are_kept_and_what_could_not_be_read_is_looked_at_again(
    small: tuple[Path, Path], keep: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    diff = ftdiff.compare(*small)
    whole, changed = diff.about["structure"], diff.frame["status"] == "changed"
    lost = diff.frame.loc[changed, "tensor"].iloc[-1]
    seen = structure_looks._seen

    def failing(matrix: Matrix, **how: Any) -> Any:
        if matrix.address.name == lost:
            raise BadFile("a page is missing")
        return seen(matrix, **how)

    failing.__module__, failing.__qualname__ = seen.__module__, seen.__qualname__
    for look, is_again in ((failing, True), (seen, True), (seen, False)):
        monkeypatch.setattr(structure_looks, "_seen", look)
        counting = Counting(Matrix)
        with keep():
            found = ftdiff.compare(*small, executor=counting).about["structure"]
        assert (lost in counting.pieces) is is_again is bool(counting.pieces)
        assert (found == whole) is (look is seen)


def test_other_bytes_other_times_and_other_questions_are_measured(
    tmp_path: Path, keep: Callable[..., Any]
) -> None:
    base, tuned = write_base(tmp_path / "b"), write_model(tmp_path / "t", merged())

    def measured() -> int:
        counting = Counting()
        with keep():
            ftdiff.compare(base, tuned, executor=counting)
        return len(counting.pieces)

    every = measured()
    assert measured() == 0
    copied = tmp_path / "elsewhere"
    shutil.copytree(tuned, copied)  # with the times of the files
    counting = Counting()
    with keep():
        ftdiff.compare(base, copied, executor=counting)
    assert not counting.pieces
    weights = tuned / "model.safetensors"
    was = weights.stat()
    write_model(tuned, {name: W + 1 for name, W in merged().items()})
    os.utime(weights, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert measured() == every
    os.utime(weights, ns=(was.st_atime_ns, was.st_mtime_ns + 1))
    assert measured() == every
    with keep():
        counting = Counting()
        ftdiff.compare(base, tuned, executor=counting, tuned_is_delta=True)
    assert len(counting.pieces) == every


def test_a_call_that_was_wrong_leaves_nothing(tmp_path: Path, keep: Callable[..., Any]) -> None:
    with pytest.raises(BadFile), keep():
        ftdiff.compare("nowhere", BASE)
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "out").mkdir()
    with keep():
        pass
    assert [*(tmp_path / "out").iterdir()] == []


def test_of_very_many_the_small_ones_are_measured_again(
    large: Plan, keep: Callable[..., Any], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftdiff.comparison.spans.MANY", 2)
    whole = engine.run(large)
    for _ in range(2):
        counting = Counting()
        with keep():
            assert engine.run(large, counting) == whole
    assert [*counting.pieces] == ["model.norm.weight"]
    assert said[0].startswith("2 of 3 tensors are kept from an earlier run")


def test_fresh_measures_all_again(large: Plan, keep: Callable[..., Any]) -> None:
    for fresh, some in ((False, True), (False, False), (True, True), (False, False)):
        counting = Counting()
        with keep(fresh=fresh):
            engine.run(large, counting)
        assert bool(counting.pieces) is some


def test_what_could_not_be_read_is_not_kept(keep: Callable[..., Any]) -> None:
    work = Work("halves", partial(_half, lost=3), name=str, cost=int)
    with keep():
        assert executors.run(work, [[1, 2], [3]]) == [0.5, 1.0, "3: cannot be read"]
    seen: list[Any] = []
    with keep():
        executors.run(work, [[1, 2], [3]], keep=lambda piece, _: seen.append(piece))
    assert seen == [3]


def _half(number: int, lost: int) -> float | str:
    return f"{number}: cannot be read" if number == lost else number / 2


_half.__module__ = "ftdiff.tests"  # whose functions are known by their names


def test_a_damaged_journal_is_set_aside_and_begun_again(
    tmp_path: Path, large: Plan, keep: Callable[..., Any], said: list[str]
) -> None:
    path = tmp_path / "out" / "journal.sqlite"
    whole = engine.run(large)
    with keep():
        engine.run(large)
    sound = path.read_bytes()
    at = sound.index(b"base_sq")
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as foreign:
        foreign.execute("CREATE TABLE about (who TEXT)")
        foreign.commit()
    bad = (b"no database at all" * 400, sound[:5000], _flipped(sound, at + 12), other.read_bytes())
    for damaged in bad:
        path.write_bytes(damaged)
        said.clear()
        with keep():
            assert engine.run(large) == whole
        assert [line for line in said if "is damaged: set aside as journal.sqlite.damaged" in line]
        aside = (path.parent / "journal.sqlite.damaged").read_bytes()
        assert aside[100:] == damaged[100:]  # SQLite opens what is another's, and notes in its head


def _flipped(held: bytes, at: int) -> bytes:
    digit = b"1" if held[at : at + 1] != b"1" else b"2"
    return held[:at] + digit + held[at + 1 :]


def test_a_second_writer_is_told_who_the_first_is(
    keep: Callable[..., Any], large: Plan, said: list[str]
) -> None:
    with keep():
        named = rf"another run writes there \(.+, process {os.getpid()}\)"
        with pytest.raises(BadCall, match=named), keep():
            pass
        engine.run(large)
    with keep():  # whoever ends lets go
        engine.run(large)
    assert "3 of 3 tensors are kept" in said[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_said_once_and_the_run_goes_on(
    tmp_path: Path, large: Plan, keep: Callable[..., Any], said: list[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "journal.sqlite").symlink_to("/dev/full")
    with keep():
        assert engine.run(large) == engine.run(large)
    assert len(said) == 1
    assert "nothing is kept" in said[0] and "the run goes on" in said[0]


@pytest.mark.parametrize("error", [Failed("disk I/O error"), Damaged("malformed")], ids=str)
@pytest.mark.parametrize("method", ["add", "find"])
def test_an_error_of_the_disk_is_said_once_and_the_run_goes_on(
    method: str,
    error: Exception,
    large: Plan,
    keep: Callable[..., Any],
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(Database, method, failing)
    monkeypatch.setattr("ftdiff.comparison.journal.journal.BATCH", 1)
    with keep():
        assert engine.run(large) == engine.run(large)
    assert len(said) == 1
    assert "the run goes on" in said[0]


def test_files_may_not_grow_and_the_run_goes_on(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; import ftdiff\n"
        "from ftdiff.comparison import journal\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        f"with journal.kept(Path({str(tmp_path)!r}) / 'journal.sqlite', print):\n"
        f"    diff = ftdiff.compare({str(BASE)!r}, {str(FULL)!r})\n"
        "print(len(diff.columns['tensor']))\n"
    )
    lines = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(lines) == 2, lines
    assert lines[0].endswith("the run goes on")


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_measured() -> None:
    with (
        pytest.raises(BadFile, match="cannot be written"),
        journal.kept(Path("/proc/none/journal.sqlite"), print),
    ):
        raise AssertionError("it began")


_RUN = """
import sys; from pathlib import Path; import ftdiff
from ftdiff.comparison import journal
folder = Path(sys.argv[1])
journal.journal.BATCH = 1
with journal.kept(folder / "journal.sqlite", print):
    diff = ftdiff.compare(sys.argv[2], sys.argv[3], ["spectral", "relative_norm"])
diff.save(folder / "diff.json")
"""


def test_a_killed_run_is_resumed_to_equal_bytes(tmp_path: Path, said: list[str]) -> None:
    whole = ftdiff.compare(BASE, LORA, ["spectral", "relative_norm"])
    whole.save(tmp_path / "whole.json")
    call = [sys.executable, "-c", _RUN, str(tmp_path), str(BASE), str(LORA)]
    for written in (200_000, 500_000):
        run = subprocess.Popen(call, stdout=subprocess.DEVNULL)
        while _size(tmp_path) < written and run.poll() is None:
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert not (tmp_path / "diff.json").exists()
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert "of 196 tensors are kept from an earlier run" in done.stdout
    ours, theirs = ((tmp_path / f"{n}.json").read_text() for n in ("diff", "whole"))
    assert undisturbed(ours) == undisturbed(theirs)
    assert [*map(len, ours.splitlines())] == [*map(len, theirs.splitlines())]


def _size(folder: Path) -> int:
    with suppress(FileNotFoundError):
        return (folder / "journal.sqlite-wal").stat().st_size
    return 0


#: Commands that write a folder, by their module, and what they are asked.
WRITING = pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("similarity", ["--base", "base", "tuned", "tuned"]),
        ("trajectory", ["base", "tuned"]),
        ("compare", ["base", "tuned"]),
        ("compare_facets", ["--facet", "base", "tuned", "tuned"]),
    ],
)


@WRITING
def test_a_command_that_writes_a_folder_goes_on_from_it(
    name: str,
    sides: list[str],
    small: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"ftdiff.cli.{name}._write", lambda *_, **__: None)  # nothing is drawn
    place = dict(zip(("base", "tuned"), map(str, small), strict=True))
    call = [name.partition("_")[0], *(place.get(word, word) for word in sides)]
    kept = [*call, "-o", str(tmp_path / "out")]
    first, again, fresh = (
        CliRunner().invoke(command, [*kept, *more], catch_exceptions=False)
        for more in ([], [], ["--fresh"])
    )
    assert "kept from" not in first.output + fresh.output
    assert "tensors are kept from an earlier run" in again.output
    assert again.output.partition("--fresh measures all\n")[2] == first.output
    assert isinstance(CliRunner().invoke(command, [*call, "--fresh"]).exception, BadCall)


@WRITING
def test_no_other_run_takes_the_folder_before_all_is_written(
    name: str,
    sides: list[str],
    small: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, told = tmp_path / "out" / "journal.sqlite", []

    def written(*_: object, **__: object) -> None:
        said = "another run writes there"
        with pytest.raises(BadCall, match=said) as refused, journal.kept(path, told.append):
            pass
        told.append(str(refused.value))

    monkeypatch.setattr(f"ftdiff.cli.{name}._write", written)
    place = dict(zip(("base", "tuned"), map(str, small), strict=True))
    call = [name.partition("_")[0], *(place.get(word, word) for word in sides)]
    CliRunner().invoke(command, [*call, "-o", str(path.parent)], catch_exceptions=False)
    assert len(told) == 1


def test_an_outcome_is_read_as_it_was_written() -> None:
    sums = Moments(3, {"base_sq": (0.1, 1e-30)}, {"delta_max": float("inf")}, {"unequal": 2})
    for outcome in (sums, None, (1.5, [True, "x"], {"a": 1, 2: (None,)}), float("inf")):
        assert values.outcome(values.text(outcome)) == outcome
    array = values.outcome(values.text({"m": np.array([[1.5, np.nan]], np.float32)}))["m"]
    assert array.dtype == np.float32 and np.array_equal(array, [[1.5, np.nan]], equal_nan=True)
    array += 1
    for unkept in (object(), {1, 2}, np.array([object()])):
        with pytest.raises(values.Unkept):
            values.text(unkept)


def test_what_an_outcome_is_made_of_is_known_beforehand() -> None:
    for text in ('{"os.system":["x"]}', '{"moments":1,"b":2}', "[", '{"array":["|O",[1],"eHg="]}'):
        with pytest.raises((ValueError, LookupError, TypeError)):
            values.outcome(text)


@dataclass(frozen=True)
class _Ours:
    names: frozenset[str]
    more: Any = None


_Ours.__module__ = "ftdiff.tests"


class _Unversioned:
    """A file of a server that does not say when it has become another."""

    name, size, version, identity = "https://there/x.safetensors", 9, "", ("there",)

    def lend(self, start: int, stop: int) -> Any: ...


def test_a_key_is_that_of_any_process_and_of_nothing_else() -> None:
    keys = Keys()
    names = frozenset({"a", "b", "c"})
    assert keys.of(_Ours(names)).hex() == "d7484191c2e6a1d93125b427825671f5"
    different = [
        *(1, 1.0, True, "1", b"1", None, (1,), [1], (1, 1), ((1,), 1), {1: 1}, {1}),
        *(np.float32(1), np.ones(1), np.ones((1, 1)), np.ones(1, np.float32), np.dtype("f4")),
        *(_Ours(names, 1), _half, partial(_half, lost=1), partial(_half, lost=2), _Ours),
    ]
    assert len({keys.of(one) for one in different}) == len(different)
    for unknown in (object(), lambda: None, os.system, json.dumps, _Unversioned()):
        with pytest.raises(Unkeyed):
            keys.of(unknown)


def test_numbers_of_another_version_are_dropped(tmp_path: Path) -> None:
    for version, there in (("1", 0), ("1", 1), ("2", 0), ("2", 1)):
        held = Database(tmp_path / "journal.sqlite", version)
        assert len(held.find(b"key")) == there
        held.add([(b"key", 0, 0, "1")])
        held.close()


_KILLED = """
import os, signal, sys; from pathlib import Path
from ftdiff.comparison.journal import database
database.is_shared = lambda path: sys.argv[2] == "shared"
held = database.Database(Path(sys.argv[1]), "1")
kept = len(held.find(b"one")) + len(held.find(b"two"))
held.add([(sys.argv[3].encode(), 0, 0, "1")])
print(kept, *sorted(path.name for path in Path(sys.argv[1]).parent.iterdir()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("order", [("shared", "shared"), ("shared", "own"), ("own", "shared")])
def test_no_log_is_written_ahead_where_other_machines_write_and_a_kill_loses_nothing(
    order: tuple[str, str], tmp_path: Path
) -> None:
    """A folder may also be moved from one file system to the other between two runs."""
    for already, (kind, row) in enumerate(zip(order, ("one", "two"), strict=True)):
        call = [sys.executable, "-c", _KILLED, str(tmp_path / "j.sqlite"), kind, row]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        kept, *files = done.stdout.split()
        assert int(kept) == already
        assert ("j.sqlite-wal" in files) is (kind == "own")
        assert "j.sqlite-shm" not in files  # no memory is shared: the lock is held throughout
    held = Database(tmp_path / "j.sqlite", "1")
    assert [len(held.find(row)) for row in (b"one", b"two")] == [1, 1]
    held.close()


def test_rows_are_written_some_at_a_time_and_at_the_latest_after_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    held = Database(tmp_path / "journal.sqlite", "1")
    monkeypatch.setattr(held, "add", lambda rows: written.append(len(rows)))
    one = Journal(held, print, print)
    for i in range(130):
        assert one.add(b"key", i, i + 1, 0.5)
    assert written == [64, 64]
    monkeypatch.setattr("ftdiff.comparison.journal.journal.PATIENCE", -1.0)
    assert one.add(b"key", 130, 131, 0.5)
    assert written == [64, 64, 3]
    one.close()


def test_removing_a_journal_removes_what_lies_beside_it(tmp_path: Path) -> None:
    for ending in ("", "-wal", ".other"):
        (tmp_path / f"journal.sqlite{ending}").touch()
    database.remove(tmp_path / "journal.sqlite")
    assert [path.name for path in tmp_path.iterdir()] == ["journal.sqlite.other"]
