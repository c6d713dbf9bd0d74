"""A phase has its own rate and time left, as of now; bars show each, in notebooks too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import ftdiff
from ftdiff.comparison import notebook_bars
from ftdiff.comparison.pace import Pace
from ftdiff.comparison.progress import phase
from tests.cases.situations import write_base, write_lora


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_estimate_is_of_this_moment_not_of_the_last_report() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.left is None and pace.rate is None
    clock.now += 1
    pace.report(10, 100)
    assert (pace.rate, pace.left) == (10, 9)
    clock.now += 9  # nothing came
    assert (pace.rate, pace.left) == (1, 90)
    clock.now += 90
    assert pace.left == 900  # never less than what was said before, while nothing comes


def test_a_rate_is_of_the_last_half_minute() -> None:
    clock = Clock()
    pace = Pace(clock)
    for i in range(1, 101):  # 100 of a slow start, then ten times as fast
        clock.now += 1
        pace.report(i if i < 50 else 50 + 10 * (i - 50), 1000)
    assert pace.rate == pytest.approx(10, rel=0.01)
    assert pace.left == pytest.approx(45, rel=0.02)


def test_what_is_done_has_no_time_left_and_what_begins_has_none_yet() -> None:
    clock = Clock()
    pace = Pace(clock)
    clock.now += 0.1
    pace.report(5, 100)
    assert pace.left is None  # a tenth of a second tells nothing
    clock.now += 5
    pace.report(100, 100)
    assert pace.finished and pace.left == 0


class Bar:
    """A bar in tqdm's words."""

    made: list[Bar]

    def __init__(self, total: int, desc: str, **more: Any) -> None:
        self.total, self.desc, self.n, self.closed = total, desc, 0, False
        Bar.made.append(self)

    def update(self, more: int) -> None:
        assert not self.closed
        self.n += more

    def close(self) -> None:
        self.closed = True


def test_true_shows_a_bar_for_each_phase_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tqdm.auto

    Bar.made = []
    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    base, lora = write_base(tmp_path / "base"), write_lora(tmp_path / "lora")
    ftdiff.compare(base, lora, ["relative_norm", "stable_rank"], progress=True)
    names = [bar.desc for bar in Bar.made]
    assert names[0] == "sums" and "spectra" in names
    assert all(bar.closed and bar.n == bar.total for bar in Bar.made)


def test_without_tqdm_the_bars_are_those_of_rich(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    shown = phase(True, "sums")
    shown(1, 3)
    assert isinstance(notebook_bars.BARS._bar, notebook_bars._Rich)
    shown(3, 3)
    assert notebook_bars.BARS._bar is None


def test_a_phase_that_counts_nothing_leaves_no_bar() -> None:
    phase(True, "structure")
    assert notebook_bars.BARS._bar is None
