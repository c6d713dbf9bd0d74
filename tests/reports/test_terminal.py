from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.style import Style

import ftdiff
from ftdiff.analyses.verification import sentences as verified
from ftdiff.comparison.result import Diff
from ftdiff.reports.maps import Map, maps
from ftdiff.reports.palette import rgb
from ftdiff.reports.terminal import compare as terminal
from ftdiff.reports.terminal import heatmap as characters
from ftdiff.reports.terminal.tables import ROWS, write_line, write_table
from ftdiff.reports.terminal.verify import show_verification
from tests.plots.drawings import diff_of, rows


def a_map(cells: np.ndarray) -> Map:
    rows, columns = cells.shape
    names = tuple(f"mlp.c{j}" for j in range(columns))
    zeros = np.zeros(cells.shape, np.int64)
    return Map("", tuple(range(rows)), names, {"relative_norm": cells}, zeros > 0, zeros, zeros, ())


def console(width: int, colours: str | None = None) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colours is not None,
        color_system=colours,  # type: ignore[arg-type]
        highlight=False,
    )


def printed(to: Console, one: Map) -> list[str]:
    for line in characters.heatmap(to, one, "relative_norm"):
        to.print(line)
    file = to.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().splitlines()


@given(st.integers(1, 300), st.integers(1, 20), st.integers(20, 200))
def test_a_heatmap_fits_its_width_and_keeps_the_largest(
    rows: int, columns: int, width: int
) -> None:
    cells = np.random.default_rng(0).random((rows, columns))
    lines = characters.fitted(a_map(cells), "relative_norm", width)
    shown = len(lines.names)
    assert max(map(len, lines.names)) + 2 + lines.width * lines.cells.shape[1] <= width
    assert shown + lines.more == columns
    assert np.array_equal(lines.cells.max(axis=1), cells.max(axis=0)[:shown])
    assert (lines.cells.shape[1] - 1) * lines.pooled < rows <= lines.cells.shape[1] * lines.pooled


def test_without_colours_cells_are_shades_and_the_scale_is_named() -> None:
    cells = np.array([[0.0, 1.0], [0.5, np.nan], [1.0, 0.3]])
    q, k, key = printed(console(40), a_map(cells))
    assert q == "mlp.c0  ░░░▓▓▓███"
    assert k == "mlp.c1  ███   ▒▒▒"
    assert key == "‖ΔW‖/‖W‖  0 ░░▒▒▓▓██ 1 · layers 0 to 2"


def test_with_colours_the_ends_have_the_colours_of_the_ends() -> None:
    Style.parse.cache_clear()  # a style keeps the letters of the first console that drew it,
    Style._add.cache_clear()  # and so does a sum of styles
    first = printed(console(60, "truecolor"), a_map(np.array([[0.0], [1.0]])))[0]
    for share in (0.0, 1.0):
        assert "48;2;" + ";".join(map(str, rgb(share))) in first
    assert "48;" not in printed(console(60, "standard"), a_map(np.array([[0.0], [1.0]])))[0]


def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    first = printed(console(60, "truecolor"), a_map(np.array([[0.0], [1.0]])))[0]
    assert "48;" not in first and first.endswith("░░░███")


def test_many_layers_are_pooled_and_it_is_said() -> None:
    assert printed(console(30), a_map(np.ones((100, 1))))[-1].endswith("largest of 5")


def test_a_map_without_a_value_has_no_lines() -> None:
    assert printed(console(30), a_map(np.full((2, 2), np.nan))) == []


def test_a_summary_shows_the_map_of_the_diff(
    fixtures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    diff = ftdiff.compare(fixtures / "base", fixtures / "full")
    terminal.show(diff)
    out = capsys.readouterr().out
    one = maps(diff, ["relative_norm"])[0]
    lines = [line for line in out.splitlines() if set(line[10:]) <= set("░▒▓█") and line[10:]]
    assert [line.split()[0] for line in lines] == list(one.components)
    assert "\x1b" not in out
    low = one.values["relative_norm"].min()
    assert f"{low:.4g} ░░▒▒▓▓██" in out


@pytest.mark.parametrize("metric", ["relative_norm", "rms_change", "nuclear_norm"])
def test_layers_of_towers_are_ranked_by_a_number_without_a_base_too(
    metric: str, capsys: pytest.CaptureFixture[str]
) -> None:
    towers = [rows(9, stack=name, move=lambda layer, j: 0.1 / (1 + layer)) for name in "ab"]
    diff = diff_of(*towers)
    lone = Diff(diff.columns, {**diff.about, "base": None})
    terminal.show(lone, metric)
    printed = capsys.readouterr().out.partition("layers that moved most\n")[2].splitlines()
    assert printed[0].split()[:3] == ["stack", "layer", "rms_change"]
    assert [line.split()[1] for line in printed[1:6]] == ["0", "0", "1", "1", "2"]


def test_rows_of_a_table_may_lack_columns() -> None:
    rows = [{"layer": "0", "path": 1.0}, {"layer": "outside", "revert": 2.0}]
    out = console(40)
    write_table(out, "", rows)
    assert isinstance(out.file, io.StringIO)
    shown = [line.split() for line in out.file.getvalue().splitlines()]
    assert shown == [["layer", "path", "revert"], ["0", "1", "–"], ["outside", "–", "2"]]


def test_columns_that_do_not_fit_are_named() -> None:
    out = console(24)
    write_table(out, "", [{"tensor": "q_proj", "change": 1.0, "rotation": 2.0, "spikes": 3.0}])
    assert isinstance(out.file, io.StringIO)
    head, _, *rest = out.file.getvalue().splitlines()
    assert head.split() == ["tensor", "change"]
    assert rest == ["too narrow for: rotation, spikes"]


@given(st.lists(st.from_regex(r"[a-z/.]{1,30}", fullmatch=True), min_size=1), st.integers(30, 90))
def test_a_line_is_broken_between_words_on_a_terminal_and_nowhere_in_a_pipe(
    words: list[str], width: int
) -> None:
    for colours in ("standard", None):
        out = console(width, colours)
        write_line(out, f"[dim]{' '.join(words)}[/]", indent=2, hang=1)
        assert isinstance(out.file, io.StringIO)
        lines = re.sub(r"\x1b\[[\d;]*m", "", out.file.getvalue()).splitlines()
        assert [word for line in lines for word in line.split()] == words
        if colours is None:
            assert lines == ["  " + " ".join(words)]
        for line in lines if colours else ():
            assert len(line) <= width or " " not in line.strip()
            assert line[: 2 if line is lines[0] else 3].isspace()


def test_a_verdict_is_said_in_words_and_rows_that_are_left_out_are_counted(
    fixtures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ftdiff.verify(fixtures / "base", fixtures / "lora", fixtures / "full")
    show_verification(found)
    said = capsys.readouterr().out
    assert said.startswith("another base, or all of it was trained: ") and "other_base" not in said
    assert f"… and {len(found.wrong) - ROWS} more" in said


def test_every_verdict_has_words() -> None:
    known = {*verified._VERDICTS.values(), "not_merged", "other_base", "several", "merged_twice"}
    assert {one for one in known if "_" in one} <= verified.HEADLINES.keys() <= {
        *known, "merged_within_rounding"
    }  # fmt: skip
