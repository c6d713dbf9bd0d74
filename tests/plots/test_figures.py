"""Figures of many fine-tunes: what they show is read back from the Axes and held to the numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

import ftdiff
from ftdiff import plots
from ftdiff.analyses.similarity import Similarity
from ftdiff.analyses.trajectory import Trajectory
from ftdiff.comparison.component_styles import looks
from ftdiff.errors import BadCall, UnknownName
from ftdiff.plots.figures.facets import mesh_of
from tests.conftest import FIXTURES


@pytest.fixture(scope="module")
def kin() -> Similarity:
    root = FIXTURES
    tuned = [root / name for name in ("lora", "full", "rslora", "merged")]
    return ftdiff.similarity(tuned, root / "base")


@pytest.fixture(scope="module")
def run() -> Trajectory:
    root = FIXTURES
    return ftdiff.trajectory(root / "base", [root / "run"])


def cells(figure: Figure) -> Any:
    return next(ax for ax in figure.axes if ax.get_label() == "matrix")


def test_the_clustered_matrix_shows_the_cosines_in_the_order_of_its_tree(kin: Similarity) -> None:
    figure = plots.similarity(kin)
    ax = cells(figure)
    order = [*kin.groups.order]
    assert [text.get_text() for text in ax.get_yticklabels()] == order
    assert [text.get_text() for text in ax.get_xticklabels()] == order
    shown = ax.collections[0].get_array().reshape(4, 4)
    assert np.asarray(shown) == pytest.approx(kin.matrix.loc[order, order].to_numpy())
    written = [text.get_text() for text in ax.texts]
    assert written == [f"{v:.2f}".replace("-0.00", "0.00") for v in np.asarray(shown).ravel()]
    assert abs(order.index("lora") - order.index("merged")) == 1


def test_its_colours_are_symmetric_about_zero(kin: Similarity) -> None:
    mesh = cells(plots.similarity(kin)).collections[0]
    low, high = mesh.get_clim()
    assert low == -high
    assert mesh.cmap(mesh.norm(0.0)) == pytest.approx(to_rgba("#ffffff"), abs=0.02)


def test_a_matrix_says_what_chance_gives_and_no_cell_is_a_negative_zero(kin: Similarity) -> None:
    figure = plots.similarity(kin)
    ax = cells(figure)
    assert ax.get_title() == "4 fine-tunes of base"
    null = kin.table("cosine_null").to_numpy()
    chance = float(np.median(null[~np.eye(4, dtype=bool)]))
    bar = ax.collections[0].colorbar.ax
    lines = [line.get_ydata()[0] for line in bar.lines if line.get_gid() == "noise"]
    assert lines == pytest.approx([-chance, chance])
    assert f"chance: ±{chance:.2g}" in " ".join(ax.get_xlabel().split())
    assert bar.get_ylabel() == "cosine of ΔW" and bar.get_xlabel() == "white: 0"
    shown = np.asarray(ax.collections[0].get_array()).ravel()
    assert ((shown < 0) & (shown > -0.005)).any()  # rounded, they would be −0.00
    assert not any(text.get_text().startswith(("-", "−")) for text in ax.texts)
    assert plots.similarity(kin, title=False, annot=False).axes[2].get_title() == ""
    assert not cells(plots.similarity(kin, annot=False)).texts
    chosen = cells(plots.similarity(kin, cmap="viridis", vmin=-1.0, vmax=1.0)).collections[0]
    assert chosen.cmap.name.startswith("viridis") and chosen.get_clim() == (-1.0, 1.0)


def test_cosines_of_which_none_is_negative_are_sequential(kin: Similarity) -> None:
    pairs = Similarity(kin.names, kin.tensors, {**kin.sums, "inner": np.abs(kin.sums["inner"])})
    mesh = cells(plots.similarity(pairs)).collections[0]
    assert mesh.cmap.name == "ftdiff.sequential" and mesh.get_clim()[0] == 0.0


def test_pyplot_keeps_no_figure(kin: Similarity, run: Trajectory) -> None:
    before = pyplot.get_fignums()
    plots.similarity(kin), plots.similarities(kin), plots.trajectory(run), plots.courses(run)
    assert pyplot.get_fignums() == before


def test_small_multiples_share_one_scale_and_one_order(kin: Similarity) -> None:
    figure = plots.similarities(kin)
    maps = [ax for ax in figure.axes if ax.images]
    titles = [ax.get_title() for ax in maps]
    assert titles[:4] == ["attn. q", "attn. k", "attn. v", "attn. o"]
    assert len({ax.images[0].get_clim() for ax in maps}) == 1
    order = [*kin.groups.order]
    want = kin.table(component="attn.v").loc[order, order].to_numpy()
    assert np.asarray(maps[2].images[0].get_array()) == pytest.approx(want)
    assert [text.get_text() for text in maps[0].get_yticklabels()] == order
    by_layer = plots.similarities(kin, by="layer", most=5)
    assert len([ax for ax in by_layer.axes if ax.images]) == 5


def test_a_number_or_column_that_is_not_there_is_named(kin: Similarity, run: Trajectory) -> None:
    with pytest.raises(UnknownName, match="no number"):
        plots.similarity(kin, "sign_conflict")
    with pytest.raises(UnknownName, match="no column"):
        plots.similarities(kin, by="depth")
    with pytest.raises(BadCall, match="nothing to draw"):
        plots.similarities(kin, by="expert")
    with pytest.raises(UnknownName, match="no number"):
        plots.trajectory(run, "checkpoint")


def test_hostile_names_are_drawn_as_text(kin: Similarity, tmp_path: Path) -> None:
    names = ("$\\frac{1}$", "a\nb\x1b[2J", "<script>", "x" * 300)
    named = Similarity(names, kin.tensors, kin.sums, kin.about)
    for figure in (plots.similarity(named), plots.similarities(named)):
        plots.save(figure, tmp_path / "one.svg")
        text = (tmp_path / "one.svg").read_text()
        assert "<script" not in text and "\x1b" not in text


def test_fifty_fine_tunes_are_drawn_legibly(kin: Similarity) -> None:
    draw = np.random.default_rng(0)
    factors = draw.normal(size=(len(kin.tensors), 50, 60))
    sums = {"inner": factors @ factors.transpose(0, 2, 1)}
    sums["floor_sq"] = np.zeros((len(kin.tensors), 50))
    many = Similarity(tuple(f"run-{i}" for i in range(50)), kin.tensors, sums, kin.about)
    figure = plots.similarity(many)
    labels = cells(figure).get_yticklabels()
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in labels]
    assert len(labels) == 50 and not cells(figure).texts
    tops = sorted(box.y0 for box in boxes)
    assert min(np.diff(tops)) >= 0.8 * boxes[0].height


def test_a_runs_lines_are_its_numbers(run: Trajectory) -> None:
    ax = plots.trajectory(run, "relative_norm")
    lines = {line.get_label(): line for line in ax.lines}
    assert [*lines] == ["whole model", "attn.q", "attn.v", "mlp.down"]
    whole = run.by()
    assert lines["whole model"].get_ydata() == pytest.approx(whole["relative_norm"])
    assert lines["whole model"].get_xdata() == pytest.approx(whole["step"])
    part = run.by("component")
    part = part[part["component"] == "attn.v"]
    assert lines["attn.v"].get_ydata() == pytest.approx(part["relative_norm"])
    assert lines["attn.v"].get_color() == looks(["attn.v"])["attn.v"].colour
    assert ax.get_ylabel() == "‖ΔW‖/‖W‖" and ax.get_xlabel() == "Step"
    assert ax.get_title() == "8 checkpoints from base"
    assert ax.get_xticks().tolist() == [*run.steps]  # where checkpoints are, no round numbers
    assert [text.get_text() for text in ax.get_xticklabels()] == [str(step) for step in run.steps]


def test_what_chance_gives_and_what_is_estimated_is_marked(run: Trajectory, fixtures: Path) -> None:
    ax = plots.trajectory(run, "efficiency")
    dotted = [line for line in ax.lines if line.get_gid() == "noise"]
    assert dotted[0].get_ydata() == pytest.approx(run.by()["efficiency_null"])
    paths = [fixtures / "run" / f"checkpoint-{n}" for n in (20, 40, 60)]
    early = ftdiff.trajectory(fixtures / "base", paths[:2])
    later = ftdiff.trajectory(fixtures / "base", paths[2:], earlier=early)
    ax = plots.trajectory(later, "step_length")
    hollow = [line for line in ax.lines if line.get_gid() == "estimated"]
    assert hollow[0].get_xdata().tolist() == [60]
    assert hollow[0].get_markerfacecolor() == "white"


def test_layers_by_steps_are_drawn_for_each_component_on_one_scale(run: Trajectory) -> None:
    figure = plots.courses(run)
    maps = figure.axes[:3]
    assert [ax.get_title() for ax in maps] == ["attn. q", "attn. v", "mlp. down"]
    assert len({mesh_of(ax).get_clim() for ax in maps}) == 1
    want = run.table(component="attn.v").to_numpy()
    assert np.asarray(mesh_of(maps[1]).get_array()).reshape(28, 8) == pytest.approx(want)
    assert [text.get_text() for text in maps[0].get_xticklabels()] == [
        str(step) for step in run.steps
    ]
    assert figure.get_supxlabel().startswith("Columns: steps")
    assert figure.get_suptitle() == "8 checkpoints from base"
