"""What colours stand for: white is said, shares are sequential, lift is ratios about 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from ftdiff import plots
from ftdiff.comparison.colour_rule import SEQUENTIAL
from ftdiff.comparison.model_names import against
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall
from ftdiff.plots.elements.cells import STILL
from tests.plots.drawings import (
    COMPONENTS,
    WHITE,
    bar_of,
    diff_of,
    faces,
    mesh_of,
    numbers,
    on_bar,
    rows,
)


def grown(layers: int = 6) -> Any:
    return diff_of(rows(layers, move=lambda layer, j: 0.01 * (1 + layer) * (1 + 0.1 * j)))


def colour(ax: Any, value: float) -> Any:
    mesh = mesh_of(ax)
    return mesh.cmap(mesh.norm(value))


def test_shares_are_pale_where_there_is_little_and_dark_where_there_is_much() -> None:
    ax = plots.heatmap(grown(), "energy_share")
    values = numbers(ax)
    assert faces(ax)[np.unravel_index(values.argmin(), values.shape)] == pytest.approx(
        to_rgba(SEQUENTIAL[0]), abs=0.01
    )
    assert faces(ax)[np.unravel_index(values.argmax(), values.shape)] == pytest.approx(
        to_rgba(SEQUENTIAL[-1]), abs=0.01
    )
    assert "white" not in on_bar(ax)
    light = faces(ax)[..., :3].mean(axis=2).ravel()[values.ravel().argsort()]
    assert (np.diff(light) <= 1e-9).all()


def test_lift_is_white_at_one_and_equal_ratios_are_equal_steps() -> None:
    ax = plots.heatmap(grown(), "lift")
    assert colour(ax, 1.0) == pytest.approx(WHITE, abs=0.02)
    assert "white: 1" in on_bar(ax)
    dark = [1 - np.mean(colour(ax, value)[:3]) for value in (1 / 2, 1 / 1.4, 1.4, 2.0)]
    assert dark[0] > dark[1] > 0.02 < dark[2] < dark[3]
    texts = [text.get_text() for text in bar_of(ax).ax.get_yticklabels()]
    assert "1" in texts and {*texts} <= {"0.0625", "0.125", "0.25", "0.5", "1", "2", "4", "8"}
    still = diff_of(
        [{**row, "status": "identical", "delta_sq": 0.0} if row["layer"] == 2 else row
         for row in rows(6)]
    )  # fmt: skip
    ax = plots.heatmap(still, "lift")
    assert (numbers(ax)[2] == 0).all()
    assert faces(ax)[2, 0, 2] > faces(ax)[2, 0, 0]  # no change at all: blue, and no gap
    with pytest.raises(BadCall, match="ratios are positive"):
        plots.heatmap(grown(), "lift", vmin=-1.0)
    assert mesh_of(plots.heatmap(grown(), "lift", vmin=0.5, vmax=4.0)).get_clim() == (0.5, 4.0)


def test_cosines_are_white_at_zero_only_where_some_are_negative() -> None:
    values = pd.DataFrame({"attn.q": [-0.2, 0.1, 0.4]})
    ax = plots.heatmap(values, "cosine")
    assert colour(ax, 0.0) == pytest.approx(WHITE, abs=0.02) and "white: 0" in on_bar(ax)
    assert "white" not in on_bar(plots.heatmap(values.abs(), "cosine"))


def test_a_sequential_map_is_one_option() -> None:
    ax = plots.heatmap(grown(), cmap="sequential")
    assert mesh_of(ax).cmap.name == "ftdiff.sequential" and "white" not in on_bar(ax)
    default = plots.heatmap(grown())
    assert "white: 0.053, the middle of the range, not 0" in on_bar(default)
    about_zero = plots.heatmap(pd.DataFrame({"attn.q": [-1.0, 0.0, 1.0]}))
    assert on_bar(about_zero).strip() == "white: 0, the middle of the range"


def test_several_maps_of_one_metric_share_its_rule() -> None:
    for metric in ("lift", "energy_share"):
        figure = plots.facets([grown(), grown(9)], metric)
        first, second = figure.axes[:2]
        for value in (0.5, 1.0):
            assert colour(first, value) == pytest.approx(colour(second, value))
        white = colour(first, 1.0) == pytest.approx(WHITE, abs=0.02)
        assert white if metric == "lift" else not white


def test_no_number_in_a_cell_is_a_negative_zero() -> None:
    values = pd.DataFrame({"attn.q": [-0.0001, -0.25, 0.5]})
    ax = plots.heatmap(values, annot=True, fmt=".2f")
    assert [text.get_text() for text in ax.texts] == ["0.00", "−0.25", "0.50"]
    ax = plots.heatmap(grown(), annot=True)
    assert {len(text.get_text()) for text in ax.texts} == {5}  # 0.010, 0.096: as many places


def test_an_outlying_cell_does_not_round_the_others_to_nothing() -> None:
    values = pd.DataFrame(np.linspace(0.1, 0.14, 28).reshape(4, 7), columns=list("abcdefg"))
    values.iloc[3, 6] = 31.0
    texts = [text.get_text() for text in plots.heatmap(values, annot=True).texts]
    assert texts[0] == "0.10" and texts[-1] == "31" and "0" not in texts
    figure = plots.facets([values, values / 100], annot=True)
    first, second = ([text.get_text() for text in ax.texts] for ax in figure.axes[:2])
    assert {len(text) for text in second} <= {len(first[0])}


def test_a_diff_without_a_base_is_told_that_a_scatter_needs_one() -> None:
    made = diff_of(rows(4, base_sq=None, tuned_sq=None, inner=None))
    lone = Diff(made.columns, {**made.about, "base": None})
    with pytest.raises(BadCall, match=r"^nothing to draw: rescaling and rotation need a base$"):
        plots.scatter(lone)


def test_the_picture_counts_the_weights_that_it_would_draw() -> None:
    parts = (*COMPONENTS, "norm.attn")
    still = diff_of(rows(4, parts, status="identical", delta_sq=0.0))
    (text,) = plots.heatmap(still).texts
    assert text.get_gid() == STILL
    assert (
        " ".join(text.get_text().split())
        == "Nothing moved in this map: all 28 weights of it are the base's"
    )


def test_a_title_names_both_and_no_folder_of_this_machine() -> None:
    assert against({"base": "/home/me/base/", "tuned": "/home/me/runs/last"}) == "last against base"
    assert against({"base": "hf://org/base@v1", "tuned": "x.safetensors"}) == "x against org/base"
    same = {"base": "/a/one/m.safetensors", "tuned": "/a/two/m.safetensors"}
    assert against(same) == "two/m.safetensors against one/m.safetensors"
    assert against({}) == ""
