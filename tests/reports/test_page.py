"""What a page of one diff and of several holds, and how its maps are laid out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import ftdiff
from ftdiff.cli import ftdiff as shell
from ftdiff.errors import BadCall
from ftdiff.reports import html
from ftdiff.reports.document import document
from ftdiff.reports.page_parts import content
from ftdiff.reports.scale import scale_of
from ftdiff.reports.svg import Figure, panes
from tests.browser import models
from tests.cases import situations
from tests.conftest import FIXTURES
from tests.plots.drawings import diff_of, rows


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two saved diffs, of a base and fine-tunes that lie on this machine."""
    folder = tmp_path_factory.mktemp("saved")
    base = situations.write_base(folder / "secret" / "base")
    paths = []
    for seed in (3, 4):
        lora = situations.write_lora(
            folder / "secret" / f"lora-{seed}", situations.factors(seed=seed)
        )
        paths.append(ftdiff.compare(base, lora).save(folder / f"{seed}.json"))
    return paths


def island(text: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        re.findall(r'id="ftdiff-data">(.*?)</script>', text, re.DOTALL)[0]
    )
    return found


def test_a_published_page_names_folders_and_no_path(saved: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    ran = CliRunner().invoke(shell, ["report", str(saved[0]), "-o", str(page)])
    assert ran.exit_code == 0, ran.output
    text = page.read_text()
    assert str(saved[0].parent) not in text and "secret" not in text
    assert "<title>ftdiff: base → lora-3 (lora)</title>" in text
    diff = ftdiff.load(saved[0])
    assert isinstance(diff, ftdiff.Diff)
    report = document(diff, words=True)  # as compare hands it on
    assert "secret" in report.title and "secret" not in html.render(diff, report=report)
    names = ["--base-name", "org/base", "--tuned-name", "org/tuned"]
    CliRunner().invoke(shell, ["report", str(saved[0]), "-o", str(page), *names])
    assert "<title>ftdiff: org/base → org/tuned (lora)</title>" in page.read_text()
    assert "secret" not in page.read_text()


def test_several_diffs_share_one_page_and_one_table(saved: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    ran = CliRunner().invoke(shell, ["report", *map(str, saved), "-o", str(page), "--one-hue"])
    assert ran.exit_code == 0, ran.output
    held = island(page.read_text())
    assert held["names"] == ["lora-3", "lora-4"] and held["oneHue"] is True
    assert [one["of"] for one in held["maps"]] == [0, 1]  # type: ignore[attr-defined]
    columns = {one["name"]: one for one in held["table"]["columns"]}  # type: ignore[index]
    both = [ftdiff.load(path).frame["tensor"].tolist() for path in saved]  # type: ignore[union-attr]
    assert columns["tensor"]["texts"] == both[0] + both[1]
    assert columns["of"]["levels"] == ["lora-3", "lora-4"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{diff}", "{alike}"], "only diffs stand side by side"),
        (["{diff}", "--tuned-name", "a", "--tuned-name", "b"], "2 names for 1 fine-tunes"),
        (["{alike}", "--tuned-name", "a"], "names of fine-tunes are for diffs"),
        (["{diff}"] * 7, "a page is of one diff, or of 2 to 6 side by side, not of 7"),
        (["{diff}", "-m", "nonsense"], "nonsense"),
    ],
)
def test_a_wrong_call_is_one_line(
    saved: list[Path], tmp_path: Path, arguments: list[str], words: str
) -> None:
    alike = tmp_path / "alike.json"
    if "{alike}" in arguments:
        ftdiff.similarity([FIXTURES / "lora", FIXTURES / "attention"]).save(alike)
    given = [one.format(diff=saved[0], alike=alike) for one in arguments]
    ran = CliRunner().invoke(shell, ["report", *given, "-o", str(tmp_path / "page.html")])
    assert isinstance(ran.exception, ftdiff.errors.FtdiffError), ran.output
    assert words in str(ran.exception) and not (tmp_path / "page.html").exists()


def test_a_page_says_that_nothing_moved_where_a_map_would_be() -> None:
    still = diff_of(rows(4, delta_sq=0.0, status="identical", inner=100.0))
    for diffs in (still, [still, still]):
        text = html.render(diffs)
        of = 28 if diffs is still else 56
        assert f"Nothing moved in this map: all {of} weights of it are the base" in text
        assert "Grey: no value" not in text and 'class="cell"' not in text
    moved = html.render([still, diff_of(rows(4))])
    assert "Nothing moved in" not in moved and 'class="cell"' in moved


def test_names_that_come_twice_are_told_apart(saved: list[Path]) -> None:
    diff = ftdiff.load(saved[0])
    assert isinstance(diff, ftdiff.Diff)
    found = content([diff, diff])
    assert [part.name for part in found.parts] == ["lora-3 (1)", "lora-3 (2)"]
    assert [one.title for one in found.maps] == ["lora-3 (1)", "lora-3 (2)"]
    with pytest.raises(BadCall):
        content([])


def test_a_metric_of_one_diff_alone_has_no_values_in_the_other(saved: list[Path]) -> None:
    diff = ftdiff.load(saved[0])
    assert isinstance(diff, ftdiff.Diff)
    other = ftdiff.Diff(
        {name: held for name, held in diff.columns.items() if name != "rotation"}, diff.about
    )
    found = content([other, diff])
    empty, full = (one.values["rotation"] for one in found.maps)
    assert np.isnan(empty).all() and not np.isnan(full).any()


def laid(diff: ftdiff.Diff) -> tuple[tuple[Figure, ...], ...]:
    drawn = content([diff]).maps
    metric = "relative_norm" if diff.about.get("base") else "rms_change"
    return panes(drawn, metric, scale_of([one.values[metric] for one in drawn], metric))


def test_stacks_with_the_same_columns_stand_above_each_other(tmp_path: Path) -> None:
    ((up, mid, down),) = laid(models.unet_lora(tmp_path / "unet"))
    assert [one.title for one in (up, mid, down)] == ["up", "mid", "down"]  # the last on top
    assert (up.columns, mid.columns) == ((), ())
    assert [label.text for label in down.columns[:2]] == ["self q", "self k"]
    assert {one.cell_height for one in (up, mid, down)} == {up.cell_height}


@pytest.mark.parametrize("model", [models.flux_like, models.vision_language])
def test_other_stacks_stand_side_by_side_on_a_laptops_screen(model: object) -> None:
    found = laid(model())  # type: ignore[operator]
    assert [len(pane) for pane in found] == [1, 1]
    assert sum(pane[0].width for pane in found) + 14 <= 660
    assert max(pane[0].height for pane in found) <= 450


def test_labels_of_rows_do_not_touch() -> None:
    for (one,) in laid(models.flux_like()):
        heights = sorted(label.y for label in one.rows)
        assert min(np.diff(heights)) >= 12
