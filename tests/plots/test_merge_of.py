"""The coefficients of a merge over the layers: the lines of the figure, the table, the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import ftdiff
from ftdiff import plots
from ftdiff.cli import ftdiff as cli
from ftdiff.errors import UnknownName
from ftdiff.reports import html
from ftdiff.reports.terminal.merge_of import show_merge
from tests.analyses import planted_merges as planted
from tests.analyses.planted_merges import State, linear, tuned
from tests.conftest import write_model

W = planted.base()
A, B = tuned(W, 2, 5e-3)


def graded(attention: tuple[float, float], mlp: tuple[float, float]) -> State:
    """Return a merge whose share of A depends on the layer, in attention and in the MLP."""
    found = {}
    for name in W:
        share = (mlp if "mlp" in name else attention)[int(".1." in name)]
        found[name] = linear([A, B], [share, 1 - share])[name]
    return found


@pytest.fixture(scope="module")
def by_layer() -> ftdiff.MergeOf:
    return ftdiff.merge_of(graded((0.2, 0.8), (0.2, 0.8)), [A, B], W)


@pytest.fixture(scope="module")
def by_component() -> ftdiff.MergeOf:
    return ftdiff.merge_of(graded((0.2, 0.8), (0.5, 0.5)), [A, B], W)


def test_one_coefficient_is_one() -> None:
    found = ftdiff.merge_of(linear([A, B], [0.6, 0.4]), [A, B], W)
    assert found.one and not found.components_differ
    table = found.curves()
    assert (table["low"] <= table["coefficient"]).all()
    assert (table["high"] >= table["coefficient"]).all()


def test_a_line_for_each_parent_with_where_it_may_lie(by_layer: ftdiff.MergeOf) -> None:
    assert not by_layer.one and not by_layer.components_differ
    ax = plots.merge_of(by_layer)
    assert [line.get_label() for line in ax.lines] == [*by_layer.about["parents"]]
    assert np.allclose(ax.lines[0].get_ydata(), [0.2, 0.8], atol=1e-3)
    assert np.allclose(ax.lines[1].get_ydata(), [0.8, 0.2], atol=1e-3)
    assert sum(one.get_gid() == "band" for one in ax.collections) == 2


def test_components_that_differ_have_a_line_each(by_component: ftdiff.MergeOf) -> None:
    assert by_component.components_differ
    ax = plots.draw(by_component)
    lines = {str(line.get_label()): line.get_ydata() for line in ax.lines}  # type: ignore[union-attr]
    assert np.allclose(lines["attn.q"], [0.2, 0.8], atol=1e-3)
    assert np.allclose(lines["mlp.up"], [0.5, 0.5], atol=1e-3)
    second = [*by_component.about["parents"]][1]
    ax = plots.merge_of(by_component, second)
    assert np.allclose(ax.lines[0].get_ydata(), [0.8, 0.2], atol=1e-3)
    with pytest.raises(UnknownName, match="no parent is called 'C'"):
        plots.merge_of(by_component, "C")


def test_the_terminal_shows_courses(
    by_layer: ftdiff.MergeOf, by_component: ftdiff.MergeOf, capsys: pytest.CaptureFixture[str]
) -> None:
    show_merge(by_layer)
    out = capsys.readouterr().out
    assert "coefficients over the layers" in out and "▂▇" in out and "▇▂" in out
    show_merge(by_component)
    out = capsys.readouterr().out
    assert "coefficients by component" in out and "attn.q" in out and "mlp.up" in out
    show_merge(ftdiff.merge_of(linear([A, B], [0.6, 0.4]), [A, B], W))
    assert "coefficients" not in capsys.readouterr().out


def test_a_page_shows_the_curves_and_the_worst_tensors(
    by_component: ftdiff.MergeOf, tmp_path: Path
) -> None:
    text = html.save(by_component, tmp_path / "merge.html").read_text()
    for part in ("Coefficients over the layers", "<svg", "attn.q", by_component.sentences[0][:30]):
        assert part in text


def test_the_folder_holds_the_residual_where_something_was_changed(tmp_path: Path) -> None:
    trained = planted.trained(linear([A, B], [0.6, 0.4]), 1e-4)
    models = {"a": A, "b": B, "m": linear([A, B], [0.6, 0.4]), "t": trained}
    paths = {name: str(write_model(tmp_path / name, one)) for name, one in models.items()}
    both, out = [paths["a"], paths["b"]], tmp_path / "out"
    done = CliRunner().invoke(cli, ["merge-of", paths["m"], *both, "-o", str(out)])
    assert done.exit_code == 0 and not (out / "residual.json").exists()
    assert (out / "merge.json").exists() and (out / "merge.png").exists()
    done = CliRunner().invoke(cli, ["merge-of", paths["t"], *both, "-o", str(out)])
    assert done.exit_code == 3
    for command in (["findings"], ["report", "-o", str(tmp_path / "r.html")]):
        done = CliRunner().invoke(cli, [command[0], str(out / "residual.json"), *command[1:]])
        assert done.exit_code in (0, 1), done.output
    done = CliRunner().invoke(cli, ["plot", str(out / "merge.json"), "-o", str(tmp_path / "p.svg")])
    assert done.exit_code == 0, done.output
