"""Every kind of figure from the shell, in every format, with the options of its function."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import ftdiff
from ftdiff import plots
from ftdiff.analyses import parts
from ftdiff.cli import ftdiff as door
from ftdiff.cli.plot import plot
from ftdiff.errors import BadCall, FtdiffError, UnknownName
from tests.conftest import FIXTURES

BASE, FULL, LORA = (FIXTURES / name for name in ("base", "full", "lora"))


def _run(*args: object) -> Result:
    return CliRunner().invoke(door, ["plot", *map(str, args)])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("saved")
    diff = ftdiff.compare(BASE, FULL, ["spectral", "magnitude"])
    diff.table().to_csv(folder / "matrix.csv")
    heads = parts.heads(BASE, FULL).save(folder / "heads.json")
    rows = parts.rows(BASE, FULL, "layers.3.mlp.up_proj.weight").save(folder / "rows.json")
    named = {"matrix": folder / "matrix.csv", "heads": heads, "rows": rows}
    return {"diff": diff.save(folder / "diff.json"), **named}


SOURCES = {"tokens": "matrix", "heads": "heads", "strips": "rows"}


@pytest.mark.parametrize("style", [*plots.FIGURES])
def test_every_figure_is_drawn_from_a_file_in_every_format(
    style: str, saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftdiff.tensors.FileTensor.window", pytest.fail)  # no weight is read
    source = saved[SOURCES.get(style, "diff")]
    for ending, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        path = tmp_path / f"x.{ending}"
        done = _run(source, "--style", style, "-o", path)
        assert done.exit_code == 0, done.exception
        assert path.read_bytes().startswith(start)
        assert done.stdout.strip() == str(path)


def test_help_names_every_figure_and_every_option_has_a_figure() -> None:
    text = " ".join(_run("--help").output.split())
    for style in plots.FIGURES:
        assert style in text
    known = {name for one in plots.FIGURES.values() for name in inspect.signature(one).parameters}
    options = {param.name for param in plot.params}
    selecting = {"include", "exclude", "layers", "top"}
    assert options - {"source", "output", "style"} - selecting <= known


@pytest.mark.parametrize(
    ("style", "given", "options"),
    [
        ("modules", ["--normalise", "row"], {"normalise": "row"}),
        ("modules", ["--center", "0.1", "--vmin", "0", "--vmax", "0.2"],
         {"center": 0.1, "vmin": 0.0, "vmax": 0.2}),
        ("modules", ["--robust", "--bare"], {"robust": True, "bare": True}),
        ("modules", ["--others", "--title", "mine"], {"others": True, "title": "mine"}),
        ("modules", ["--no-others"], {"others": False}),
        ("importance", ["--normalise", "rank"], {"normalise": "rank"}),
        ("importance", [], {}),
        ("profile", ["--by", "block", "--log"], {"by": "block", "log": True}),
        ("spectrum", ["--component", "attn.q"], {"component": "attn.q"}),
        ("spectrum", ["--tensor", "3.mlp.up_proj.weight"], {"tensors": ("3.mlp.up_proj.weight",)}),
        ("energy", ["--by", "block"], {"by": "block"}),
    ],
)  # fmt: skip
def test_options_of_the_shell_are_those_of_the_function(
    style: str, given: list[str], options: dict[str, Any], saved: dict[str, Path], tmp_path: Path
) -> None:
    done = _run(saved["diff"], "--style", style, *given, "-o", tmp_path / "a.svg")
    assert done.exit_code == 0, done.exception
    diff = ftdiff.Diff.load(saved["diff"])
    drawn = plots.save(plots.draw(diff, style=style, **options), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == drawn.read_bytes()


def test_outlines_and_trends_are_the_findings(saved: dict[str, Path], tmp_path: Path) -> None:
    diff = ftdiff.Diff.load(saved["diff"])
    found = ftdiff.findings(diff)
    for style, flag, option in (
        ("modules", "--outline", "outline"),
        ("profile", "--trend", "trend"),
    ):
        done = _run(saved["diff"], "--style", style, flag, "-o", tmp_path / "a.svg")
        assert done.exit_code == 0, done.exception
        drawn = plots.save(plots.draw(diff, style=style, **{option: found}), tmp_path / "b.svg")
        assert (tmp_path / "a.svg").read_bytes() == drawn.read_bytes()
    assert _run(saved["matrix"], "--outline", "-o", tmp_path / "c.svg").exit_code == 0


@pytest.mark.parametrize(
    ("source", "args", "error", "said"),
    [
        ("diff", ["--style", "scater"], UnknownName, "did you mean 'scatter'"),
        ("diff", ["--style", "scatter", "--robust"], UnknownName, "option of style 'scatter'"),
        ("diff", ["--style", "heads"], BadCall, "ftdiff parts --by head"),
        ("diff", ["--style", "strips"], BadCall, "ftdiff parts --by row"),
        ("diff", ["--style", "tokens"], BadCall, "has no tokens"),
        ("diff", ["--normalise", "layer"], BadCall, "'component', 'row' or 'none'"),
        ("rows", ["--style", "spectrum"], BadCall, "compare -m spectral"),
        ("matrix", ["--style", "scatter"], BadCall, "a scatter draws a Diff"),
        ("matrix", ["--style", "energy"], BadCall, "draw a Diff"),
        ("matrix", ["--style", "spectrum"], BadCall, "is of a Diff"),
    ],
)
def test_what_a_figure_cannot_draw_is_one_line_that_says_what_can(
    source: str,
    args: list[str],
    error: type[FtdiffError],
    said: str,
    saved: dict[str, Path],
    tmp_path: Path,
) -> None:
    done = _run(saved[source], *args, "-o", tmp_path / "x.svg")
    assert isinstance(done.exception, error), done.exception
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not (tmp_path / "x.svg").exists()


def test_a_figure_is_named_for_its_style_where_no_path_is_given(
    saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for style, name in (("modules", "heatmap.png"), ("energy", "energy.png")):
        assert _run(saved["diff"], "--style", style).output.strip() == name
        assert (tmp_path / name).exists()
