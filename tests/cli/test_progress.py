"""Each phase has a line of its own; what is quiet is quiet, and what is asked for is said."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from ftdiff.cli import progress
from ftdiff.cli.progress_columns import amount, left
from ftdiff.comparison.pace import Pace
from tests.cases.situations import CONFIG, merged, write_base
from tests.cli.pseudo_terminal import in_terminal
from tests.conftest import write_model


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_base(tmp_path / "base")
    write_model(tmp_path / "tuned", merged(), config=CONFIG)
    return tmp_path


def test_every_phase_is_named_with_its_time(home: Path) -> None:
    call = ["compare", "base", "tuned", "-m", "stable_rank", "-o", "out"]
    done = in_terminal(call, columns=100)
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", done.err.decode())
    for name in ("opening", "sums", "structure", "spectra", "saving", "drawing", "the page"):
        assert re.search(rf"[\r\n]{name} ", text), name
    assert "0:00:00" not in text
    assert re.search(r"sums .*B · .*B/s took [\d.]+ s", text)
    assert b"\x1b" not in done.out.split(b"\r\n")[1]  # standard output is no part of it


@pytest.mark.parametrize("more", ["--no-progress", "-q"])
def test_no_bars_where_none_are_wanted(home: Path, more: str) -> None:
    done = in_terminal(["compare", "base", "tuned", more], columns=80)
    assert done.err == b"" and done.code == 0
    before = in_terminal([more, "compare", "base", "tuned"], columns=80)
    assert before.err == b""


def test_quiet_says_what_went_wrong_and_nothing_else(home: Path) -> None:
    done = in_terminal(["compare", "base", "tuned", "-q", "--min-coverage", "1", "--layers", "0"])
    assert done.code == 1
    assert done.err.decode().startswith("ftdiff: ") and done.err.count(b"\n") == 1
    assert b"wrote" not in done.err


def test_verbose_says_how_long_each_phase_took(home: Path) -> None:
    done = in_terminal(["compare", "base", "tuned", "-v"], env={"TERM": "dumb"})
    phases = re.findall(r"^([a-z ]+): [\d.]+ s\r?$", done.err.decode(), re.MULTILINE)
    assert phases[:2] == ["opening", "sums"] and "structure" in phases


def test_a_line_says_what_is_known_and_never_a_stale_time() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    how_much, how_long = amount(of_bytes=True)._words, left()._words
    assert (how_much(pace, None), how_long(pace, None)) == ("", "0.0 s so far")
    now = 2.0
    pace.report(1_000_000, 4_000_000)
    assert how_much(pace, None) == "1.0 MB of 4.0 MB · 500.0 kB/s"
    assert how_long(pace, None) == "6 s left"
    now = 60.0
    assert how_long(pace, None) == "3 min left"
    pace.report(4_000_000, 4_000_000)
    assert how_long(pace, None) == "60 s so far"  # done, and the next has not begun
    assert how_long(pace, 60.0) == "took 60 s"
    assert how_much(pace, 50.0) == "4.0 MB · 80.0 kB/s"
    assert amount(of_bytes=False)._words(pace, None).startswith("4e+06 of 4e+06")


def test_a_phase_ends_when_the_next_begins() -> None:
    bars = progress.Bars(None)
    bars.phase("a")
    time.sleep(0.01)
    bars(1, 2)
    assert bars._current is not None and bars._current[0] == "measuring"
    bars(2, 2)
    bars.end()
    assert bars._current is None
