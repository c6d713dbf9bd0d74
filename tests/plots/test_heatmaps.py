"""What a heatmap shows is read back from its Axes and compared with the data."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from ftdiff import plots
from ftdiff.cli import ftdiff as door
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall, BadFile, UnknownName
from ftdiff.plots.elements import cells
from ftdiff.plots.elements.colours import BLUE_WHITE_ORANGE, MISSING, round_ticks, tick_texts
from ftdiff.plots.elements.labels import shown
from ftdiff.plots.elements.ticks import layer_ticks
from tests.plots.drawings import (
    COMPONENTS,
    PUBLISHED,
    WHITE,
    bar_of,
    diff_of,
    faces,
    marked,
    mesh_of,
    movement,
    numbers,
    on_bar,
    rows,
    said,
    x_texts,
    y_ticks,
)

# modules


@pytest.mark.parametrize(
    ("layers", "step"), [(28, 3), (36, 4), (32, 4), (40, 3), (24, 4), (48, 4), (12, 4)]
)
def test_layers_are_ticked_by_three_or_four_and_the_last_is_named(layers: int, step: int) -> None:
    ax = plots.heatmap(diff_of(rows(layers)))
    expected = sorted({*range(0, layers, step), layers - 1})
    assert y_ticks(ax) == {layer + 0.5: str(layer) for layer in expected}


@pytest.mark.parametrize("layers", [28, 36, 32])
def test_layer_zero_is_at_the_bottom_and_columns_are_as_published(layers: int) -> None:
    made = rows(layers)
    ax = plots.heatmap(diff_of(made[::-1]))
    assert x_texts(ax) == PUBLISHED
    assert ax.get_xticks().tolist() == [j + 0.5 for j in range(7)]
    assert ax.get_ylim() == (0, layers)
    assert ax.get_xlim() == (0, 7)
    drawn = numbers(ax)
    assert drawn == pytest.approx(
        np.array([[movement(i, j) for j in range(7)] for i in range(layers)])
    )


@pytest.mark.parametrize("layers", [28, 36, 32])
def test_each_cell_has_the_colour_of_its_number(layers: int) -> None:
    values = np.array([[movement(i, j) for j in range(7)] for i in range(layers)])
    ax = plots.heatmap(diff_of(rows(layers)))
    share = (values - values.min()) / (values.max() - values.min())
    assert faces(ax) == pytest.approx(BLUE_WHITE_ORANGE(share), abs=0.02)
    bottom, top = faces(ax)[0, 0], faces(ax)[-1, -1]
    assert bottom[2] > bottom[0]  # little: blue
    assert top[0] > top[2]  # much: orange


def test_white_is_the_middle_of_the_range() -> None:
    values = pd.DataFrame({"attn.q": [1.0, 2.0, 3.0]})
    assert faces(plots.heatmap(values))[1, 0] == pytest.approx(WHITE, abs=0.01)


def test_both_halves_of_the_scale_darken_steadily_from_white() -> None:
    shades = BLUE_WHITE_ORANGE(np.linspace(0, 1, 255))
    light = shades[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert shades[127] == pytest.approx(WHITE, abs=0.02)
    assert (np.diff(light[:128]) > 0).all()
    assert (np.diff(light[127:]) < 0).all()
    assert light[0] == pytest.approx(light[-1], abs=0.1)
    assert shades[0, 2] > 2 * shades[0, 0]
    assert shades[-1, 0] > 2 * shades[-1, 2]


def test_a_given_centre_is_white_and_both_sides_keep_one_slope() -> None:
    values = pd.DataFrame({"attn.q": [0.0, 1.0, 2.0, 5.0]})
    found = faces(plots.heatmap(values, center=1.0))[:, 0]
    assert found[1] == pytest.approx(WHITE, abs=0.02)
    assert found[3] == pytest.approx(BLUE_WHITE_ORANGE(1.0), abs=0.01)
    assert found[0] == pytest.approx(BLUE_WHITE_ORANGE(0.375), abs=0.02)
    assert found[2] == pytest.approx(BLUE_WHITE_ORANGE(0.625), abs=0.02)


@pytest.mark.parametrize("layers", [28, 36, 32])
def test_the_bar_spans_the_data_with_at_most_five_round_ticks_inside(layers: int) -> None:
    ax = plots.heatmap(diff_of(rows(layers)))
    bar = bar_of(ax)
    data = numbers(ax)
    assert (bar.vmin, bar.vmax) == (data.min(), data.max())
    ticks = bar.get_ticks()
    assert 2 <= len(ticks) <= 5
    assert ((ticks >= bar.vmin) & (ticks <= bar.vmax)).all()
    texts = [text.get_text() for text in bar.ax.get_yticklabels()]
    assert [float(text) for text in texts] == ticks.tolist()
    assert max(len(text.lstrip("0.")) for text in texts) <= 2
    assert bar.ax.get_ylabel() == "‖ΔW‖/‖W‖"
    assert bar.extend == "neither"


def test_small_numbers_on_the_bar_are_written_short() -> None:
    ax = plots.heatmap(pd.DataFrame({"attn.q": [0.0, 5e-6, 1e-5]}))
    texts = [text.get_text() for text in bar_of(ax).ax.get_yticklabels()]
    assert texts == ["0", "2.5e-6", "5e-6", "7.5e-6", "1e-5"]


def test_the_bar_stands_right_of_the_map() -> None:
    ax = plots.heatmap(diff_of(rows(12)))
    ax.figure.canvas.draw()
    assert bar_of(ax).ax.get_position().x0 > ax.get_position().x1


def test_another_metric_brings_its_own_label() -> None:
    ax = plots.heatmap(diff_of(rows(4)), "rms_change")
    assert bar_of(ax).ax.get_ylabel() == "RMS ΔW"


def test_missing_cells_are_grey_and_zero_is_not() -> None:
    made = rows(12)
    for row in made:
        if row["layer"] == 3 and row["component"] == "attn.k":
            row |= {"status": "untouched", "delta_sq": None}
        if row["layer"] == 4 and row["component"] == "attn.k":
            row |= {"status": "identical", "delta_sq": 0.0}
    ax = plots.heatmap(diff_of(made))
    assert np.isnan(numbers(ax)).sum() == 1
    assert faces(ax)[3, 1] == pytest.approx(to_rgba(MISSING))
    assert faces(ax)[4, 1] == pytest.approx(BLUE_WHITE_ORANGE(0.0), abs=0.01)
    assert "grey: no value" in ax.get_xlabel()
    assert "grey" not in plots.heatmap(diff_of(rows(12))).get_xlabel()


def test_the_face_of_missing_cells_is_none_of_the_scale() -> None:
    shades = BLUE_WHITE_ORANGE(np.linspace(0, 1, 512))
    assert np.abs(shades - to_rgba(MISSING)).max(axis=1).min() > 0.03


def test_layers_that_a_diff_does_not_have_are_blank_rows() -> None:
    made = [row for row in rows(28) if row["layer"] >= 20]
    ax = plots.heatmap(diff_of(made))
    assert numbers(ax).shape == (28, 7)
    assert faces(ax)[:20] == pytest.approx(np.broadcast_to(to_rgba(MISSING), (20, 7, 4)))


def test_a_hostile_layer_index_makes_no_million_rows() -> None:
    made = [{**row, "layer": 999_999_999 if row["layer"] else 0} for row in rows(2)]
    ax = plots.heatmap(diff_of(made))
    assert y_ticks(ax) == {0.5: "0", 1.5: "999999999"}


def test_a_single_layer_is_drawn() -> None:
    ax = plots.heatmap(diff_of(rows(1)))
    assert y_ticks(ax) == {0.5: "0"}
    assert x_texts(ax) == PUBLISHED


@pytest.mark.parametrize("number", [0.0, 0.0121, 3.5])
def test_constant_data_is_white_and_the_bar_names_the_one_number(number: float) -> None:
    ax = plots.heatmap(diff_of(rows(28, move=lambda layer, j: number)))
    assert faces(ax) == pytest.approx(np.ones((28, 7, 4)), abs=0.02)
    assert bar_of(ax).get_ticks() == pytest.approx([number])
    assert "every cell is" in ax.get_xlabel()


def test_a_narrow_range_is_said_and_a_wide_one_is_not() -> None:
    narrow = diff_of(rows(28, move=lambda layer, j: 0.02 + 1e-5 * layer))
    assert "narrow range: all cells within 1.3 %" in plots.heatmap(narrow).get_xlabel()
    assert "narrow" not in plots.heatmap(narrow, vmin=0, vmax=0.1).get_xlabel()
    assert "narrow" not in plots.heatmap(diff_of(rows(28))).get_xlabel()


def test_one_outlying_cell_does_not_flatten_a_map() -> None:
    even = rows(24, move=lambda layer, j: 0.01 + 1e-4 * layer)
    far = rows(24, move=lambda layer, j: 0.6 if (layer, j) == (7, 2) else 0.01 + 1e-4 * layer)
    plain, ax = plots.heatmap(diff_of(even)), plots.heatmap(diff_of(far))
    assert mesh_of(ax).get_clim() == pytest.approx(mesh_of(plain).get_clim())
    assert bar_of(ax).extend == "max" and bar_of(plain).extend == "neither"
    texts = [text for text in ax.texts if text.get_gid() == "beyond"]
    assert [(text.get_text(), text.get_position()) for text in texts] == [("0.6", (2.5, 7.5))]
    assert "1 cell beyond the colours, its number in it" in said(ax)
    assert "beyond" not in said(plain)
    assert on_bar(plain) == " white: 0.0112, the middle of the range, not 0"
    assert on_bar(ax).startswith("1 cell above, to 0.6 white: 0.0112")
    given = plots.heatmap(diff_of(even), vmin=0, vmax=0.0101)  # half of the cells: no numbers
    assert not [text for text in given.texts if text.get_gid() == "beyond"]


def test_robust_limits_leave_out_the_extremes_and_show_arrows() -> None:
    def spiked(layer: int, j: int) -> float:
        return 5.0 if (layer, j) == (0, 0) else movement(layer, j)

    diff = diff_of(rows(12, move=spiked))
    bar = bar_of(plots.heatmap(diff, robust=True))
    data = numbers(plots.heatmap(diff))
    assert (bar.vmin, bar.vmax) == pytest.approx(tuple(np.percentile(data, [2, 98])))
    assert bar.extend == "both"
    assert bar_of(plots.heatmap(diff, vmin=0.0, vmax=0.02)).extend == "max"
    assert bar_of(plots.heatmap(diff, vmin=0.02, vmax=9.0)).extend == "min"


def test_robust_limits_of_data_that_hardly_differ_still_show_what_differs() -> None:
    values = pd.DataFrame({"attn.q": [1.0] * 99 + [2.0]})
    bar = bar_of(plots.heatmap(values, robust=True))
    assert (bar.vmin, bar.vmax) == (1.0, 2.0)


def test_one_scale_is_shared_through_limits() -> None:
    small = plots.heatmap(diff_of(rows(12)), vmin=0, vmax=0.1)
    large = plots.heatmap(diff_of(rows(13)), vmin=0, vmax=0.1)
    assert faces(small)[3, 2] == pytest.approx(faces(large)[3, 2])
    assert bar_of(small).get_ticks().tolist() == bar_of(large).get_ticks().tolist()


@pytest.mark.parametrize(
    "limits", [{"vmin": 1.0, "vmax": 0.5}, {"vmax": float("nan")}, {"vmin": 7.0}]
)
def test_limits_out_of_order_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(BadCall, match=r"vmin|vmax"):
        plots.heatmap(diff_of(rows(4)), **limits)


def test_normalising_divides_by_means_and_says_so() -> None:
    diff = diff_of(rows(28, move=lambda layer, j: (layer + 1) * (100.0 if j == 5 else 1.0)))
    by_component = plots.heatmap(diff, normalise="component")
    drawn = numbers(by_component)
    assert drawn == pytest.approx(np.outer(np.arange(1, 29) / 14.5, np.ones(7)))
    assert bar_of(by_component).ax.get_ylabel() == "‖ΔW‖/‖W‖ ÷ component's mean"
    by_row = plots.heatmap(diff, normalise="row")
    assert numbers(by_row).mean(axis=1) == pytest.approx(np.ones(28))
    assert bar_of(by_row).ax.get_ylabel() == "‖ΔW‖/‖W‖ ÷ layer's mean"
    with pytest.raises(BadCall, match="'component', 'row' or 'none'"):
        plots.heatmap(diff, normalise="layer")


def test_white_is_one_where_normalised() -> None:
    values = pd.DataFrame({"attn.q": [0.5, 0.5, 1.0, 2.0]})
    found = faces(plots.heatmap(values, normalise="component"))
    assert found[2, 0] == pytest.approx(WHITE, abs=0.02)


def test_cells_under_the_floor_are_hatched_and_exact_zeros_are_not() -> None:
    made = rows(12)
    for row in made:
        if row["layer"] == 2:  # snr = delta_sq / (ulp_sq / 12) = 9
            row["ulp_sq"] = row["delta_sq"] * 12 / 9
        if row["layer"] == 3:  # snr = 11
            row["ulp_sq"] = row["delta_sq"] * 12 / 11
        if row["layer"] == 5:
            row |= {"status": "identical", "delta_sq": 0.0, "ulp_sq": 1.0}
    ax = plots.heatmap(diff_of(made))
    assert marked(ax, cells.FLOOR) == [(j, 2) for j in range(7)]
    assert "snr < 10" in ax.get_xlabel()
    clean = plots.heatmap(diff_of(rows(12)))
    assert marked(clean, cells.FLOOR) == []
    assert "snr" not in clean.get_xlabel()


def test_cells_are_outlined_by_layer_and_component() -> None:
    ax = plots.heatmap(diff_of(rows(28)), outline=[(20, "mlp.down"), (0, "attn. q")])
    framed = [patch.get_xy() for patch in ax.patches if patch.get_gid() == cells.OUTLINE]
    assert framed == [(5, 20), (0, 0)]
    with pytest.raises(BadCall, match="no cell at layer 99"):
        plots.heatmap(diff_of(rows(28)), outline=[(99, "attn.q")])


def test_bare_leaves_no_text_but_the_bars_numbers() -> None:
    two = diff_of(rows(6, stack="encoder"), rows(6, stack="decoder"))
    ax = plots.heatmap(two, bare=True)
    assert (x_texts(ax), y_ticks(ax)) == ([], {})
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("", "", "")
    assert bar_of(ax).ax.get_ylabel() == ""
    assert [text.get_text() for text in bar_of(ax).ax.get_yticklabels()]


def test_other_components_follow_only_when_asked_for() -> None:
    diff = diff_of(rows(12, ("norm.input", "mlp.router", *COMPONENTS)))
    ax = plots.heatmap(diff)
    assert x_texts(ax) == PUBLISHED
    assert "not shown: mlp.router (others=True)" in said(ax)
    asked = plots.heatmap(diff, others=True)
    assert x_texts(asked) == [*PUBLISHED, "mlp. router", "norm. input"]
    assert "not shown" not in asked.get_xlabel()


def test_fused_projections_stand_where_their_parts_would() -> None:
    fused = ("mlp.down", "mlp.gate_up", "attn.o", "attn.qkv", "norm.input")
    ax = plots.heatmap(diff_of(rows(12, fused)))
    assert x_texts(ax) == ["attn. qkv", "attn. o", "mlp. down", "mlp. gate_up"]


def test_a_model_without_known_projections_is_drawn_with_what_it_has() -> None:
    ax = plots.heatmap(diff_of(rows(12, ("mixer.in_proj", "mixer.out_proj"))))
    assert x_texts(ax) == ["mixer. in_proj", "mixer. out_proj"]
    with pytest.raises(BadCall, match="others=True"):
        plots.heatmap(diff_of(rows(2, ("mixer.in_proj",))), others=False)


def test_the_stack_that_moved_most_parameters_is_drawn_and_the_others_named() -> None:
    cross = ("attn.cross_q", *COMPONENTS)
    still = {"status": "untouched", "delta_sq": None}
    diff = diff_of(
        rows(6, stack="encoder"), rows(6, cross, stack="decoder"), rows(16, stack="vision", **still)
    )
    ax = plots.heatmap(diff)
    assert ax.get_title() == "t against b · decoder"
    assert "stack='vision' or 'encoder'" in ax.get_xlabel()
    assert plots.heatmap(diff, stack="encoder").get_title() == "t against b · encoder"
    with pytest.raises(UnknownName, match="did you mean 'encoder'"):
        plots.heatmap(diff, stack="encode")
    assert plots.heatmap(diff_of(rows(6))).get_title() == "t against b"
    assert plots.heatmap(diff_of(rows(6)), title=False).get_title() == ""
    assert plots.heatmap(diff, title="my model").get_title() == "my model"


def test_shares_of_one_stack_are_still_of_the_whole_diff() -> None:
    diff = diff_of(rows(6, stack="encoder"), rows(6, stack="decoder"))
    drawn = numbers(plots.heatmap(diff, "energy_share", stack="encoder"))
    assert drawn.sum() == pytest.approx(0.5)


def test_nothing_to_draw_is_said_with_a_way_out() -> None:
    baseless = Diff.of_rows(rows(4, base_sq=None, tuned_sq=None, inner=None), {"base": None})
    with pytest.raises(BadCall, match="without a base try metric='rms_change'"):
        plots.heatmap(baseless, "relative_norm")
    assert bar_of(plots.heatmap(baseless)).ax.get_ylabel() == "RMS ΔW"
    nowhere = [{**row, "layer": None} for row in rows(4)]
    with pytest.raises(BadCall, match="no weight of this diff is in a layer"):
        plots.heatmap(diff_of(nowhere))
    with pytest.raises(BadCall, match="no value"):
        plots.heatmap(pd.DataFrame({"attn.q": [np.nan]}))
    for hollow in (pd.DataFrame(), pd.DataFrame({"attn.q": []})):
        with pytest.raises(BadCall, match="nothing to draw"):
            plots.heatmap(hollow)


def test_names_that_do_not_exist_are_answered_with_near_ones() -> None:
    diff = diff_of(rows(4))
    with pytest.raises(UnknownName, match="relative_norm"):
        plots.heatmap(diff, "relativ_norm")
    with pytest.raises(UnknownName, match=r"no style.*modules"):
        plots.heatmap(diff, style="module")
    with pytest.raises(UnknownName, match="did you mean 'robust'"):
        plots.heatmap(diff, robus=True)


# plain matrices


def test_a_plain_matrix_is_drawn_like_the_diff_it_came_from() -> None:
    diff = diff_of(rows(12))
    table = diff.table()
    assert faces(plots.heatmap(table)) == pytest.approx(faces(plots.heatmap(diff)))
    spelled = table.rename(columns=dict(zip(COMPONENTS, PUBLISHED, strict=True))).iloc[::-1, ::-1]
    before = spelled.copy()
    ax = plots.heatmap(spelled)
    assert x_texts(ax) == PUBLISHED
    assert faces(ax) == pytest.approx(faces(plots.heatmap(diff)))
    pd.testing.assert_frame_equal(spelled, before)


def test_a_plain_matrix_shows_all_its_columns_in_their_order() -> None:
    values = pd.DataFrame(np.arange(8.0).reshape(2, 4), columns=["z", "mlp.up", "a", "attn.q"])
    assert x_texts(plots.heatmap(values)) == ["attn. q", "mlp. up", "z", "a"]


def test_infinities_of_a_matrix_are_left_blank_and_counted() -> None:
    ax = plots.heatmap(pd.DataFrame({"attn.q": [1.0, np.inf, 2.0], "attn.k": [1.0, np.nan, 3.0]}))
    assert np.isnan(numbers(ax)).tolist() == [[0, 0], [1, 1], [0, 0]]
    assert "1 infinite, left blank" in said(ax)
    assert (bar_of(ax).vmin, bar_of(ax).vmax) == (1.0, 3.0)


@pytest.mark.parametrize(
    "wrong",
    [
        [[1.0]],
        pd.DataFrame({"attn.q": ["much"]}),
        pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]),
        pd.DataFrame({"a": [1.0, 2.0]}, index=[3, 3]),
        pd.DataFrame([[1.0, 2.0]], columns=["attn.q", "attn. q"]),
    ],
)
def test_what_is_no_matrix_is_refused(wrong: Any) -> None:
    with pytest.raises(BadCall) as refused:
        plots.heatmap(wrong)
    assert "\n" not in str(refused.value)


def test_a_stack_of_a_plain_matrix_is_refused() -> None:
    with pytest.raises(BadCall, match="no stacks"):
        plots.heatmap(pd.DataFrame({"attn.q": [1.0]}), stack="decoder")


# importance


@pytest.mark.parametrize("layers", [28, 36, 32])
def test_importance_sorts_modules_by_mean_and_ticks_every_second_layer(layers: int) -> None:
    diff = diff_of(rows(layers, move=lambda layer, j: 0.01 * ((j * 3) % 7 + 1) + 0.0001 * layer))
    ax = plots.heatmap(diff, style="importance")
    order = sorted(range(7), key=lambda j: -((j * 3) % 7))
    blocks = ["self_attn"] * 4 + ["mlp"] * 3
    roles = ["q", "k", "v", "o", "up", "down", "gate"]
    assert x_texts(ax) == ["whole layer", *(f"{blocks[j]}.{roles[j]}_proj" for j in order)]
    assert y_ticks(ax) == {i + 0.5: str(i) for i in range(0, layers, 2)}
    assert ax.get_ylim() == (0, layers)
    drawn = numbers(ax)
    largest = 0.07 + 0.0001 * (layers - 1)
    assert drawn[-1, 0] == pytest.approx(1.0)
    assert drawn[0, -1] == pytest.approx(0.01 / largest)
    assert faces(ax) == pytest.approx(mpl.colormaps["GnBu"](drawn), abs=0.01)
    bar = bar_of(ax)
    assert (bar.vmin, bar.vmax) == (0.0, 1.0)
    assert [text.get_text() for text in bar.ax.get_yticklabels()] == ["0", "1"]
    assert bar.ax.get_ylabel() == "‖ΔW‖/‖W‖, largest = 1"


def test_the_strip_is_the_whole_layer_from_sums_and_stands_apart() -> None:
    diff = diff_of(rows(28))
    ax = plots.heatmap(diff, style="importance", normalise="none")
    strip = next(marks for marks in ax.collections if marks.get_gid() == cells.STRIP)
    whole = diff.by("layer", param="weight")["relative_norm"].to_numpy(float)
    assert np.asarray(strip.get_array()).ravel() == pytest.approx(whole)
    right = strip.get_coordinates()[..., 0].max()
    assert right < 0
    assert ax.get_xlim()[0] <= strip.get_coordinates()[..., 0].min()
    assert ax.get_xticks()[0] == pytest.approx(strip.get_coordinates()[..., 0].mean())


def test_importance_names_norms_as_the_model_does_and_sorts_them_among_the_rest() -> None:
    modules = {
        "mlp.down_proj": 0.07,
        "self_attn.q_proj": 0.05,
        "self_attn.q_norm": 0.04,
        "self_attn.k_norm": 0.03,
        "post_attention_layernorm": 0.02,
        "input_layernorm": 0.01,
    }
    made = []
    for layer in range(28):
        for name, level in [*modules.items()][::-1]:
            row = rows(1, ("mlp.up",), move=lambda _, j, level=level: level)[0]
            facts = {"tensor": f"layers.{layer}.{name}.weight", "layer": layer, "module": name}
            made.append({**row, **facts, "component": name})
    ax = plots.heatmap(diff_of(made), style="importance")
    assert x_texts(ax) == ["whole layer", *modules]


def test_importance_normalises_as_it_says() -> None:
    values = pd.DataFrame({"a": [4.0, 2.0, 1.0], "b": [1.0, 0.5, np.nan], "layer": [9.0, 8.0, 7.0]})

    def drawn(how: str) -> Any:
        ax = plots.heatmap(values, "loss", style="importance", normalise=how)
        return np.nan_to_num(numbers(ax), nan=-1).T.tolist()

    assert drawn("max") == [[1, 0.5, 0.25], [0.25, 0.125, -1]]
    assert drawn("column") == [[1, 0.5, 0.25], [1, 0.5, -1]]
    assert drawn("rank") == [[1, 0.75, 0.375], [0.375, 0, -1]]
    assert drawn("none") == [[4, 2, 1], [1, 0.5, -1]]
    ax = plots.heatmap(values, "loss", style="importance", normalise="none")
    assert [text.get_text() for text in bar_of(ax).ax.get_yticklabels()] == ["0", "4"]
    assert x_texts(ax) == ["whole layer", "a", "b"]
    without = plots.heatmap(values[["a", "b"]], "loss", style="importance")
    assert x_texts(without) == ["a", "b"]
    with pytest.raises(BadCall, match="'rank'"):
        plots.heatmap(values, style="importance", normalise="row")


# tokens


def token_matrix(layers: int) -> pd.DataFrame:
    names = ["last_q", "exact_answer_first", "exact_answer_last", "−2", "−1"]
    values = 0.4 + 0.6 * np.random.default_rng(0).random((layers, len(names)))
    return pd.DataFrame(values, columns=names)


@pytest.mark.parametrize("layers", [28, 36, 32])
def test_tokens_keep_their_order_and_layer_zero_is_at_the_top(layers: int) -> None:
    values = token_matrix(layers)
    ax = plots.heatmap(values, "probe AUC", style="tokens")
    assert x_texts(ax) == list(values)
    assert ax.get_ylim() == (layers, 0)
    step = {28: 3, 36: 4, 32: 4}[layers]
    ticks = sorted({*range(0, layers, step), layers - 1})
    assert y_ticks(ax) == {layer + 0.5: str(layer) for layer in ticks}
    assert numbers(ax) == pytest.approx(values.to_numpy())
    share = np.clip((values.to_numpy() - 0.5) / 0.5, 0, 1)
    assert faces(ax) == pytest.approx(mpl.colormaps["Blues"](share), abs=0.01)
    bar = bar_of(ax)
    assert (bar.vmin, bar.vmax, bar.extend) == (0.5, 1.0, "min")
    assert bar.ax.get_ylabel() == "probe AUC"


def test_a_metric_of_weights_does_not_name_a_map_of_tokens() -> None:
    assert bar_of(plots.heatmap(token_matrix(4), style="tokens")).ax.get_ylabel() == ""


def test_differences_are_coloured_about_zero_as_far_on_either_side() -> None:
    values = token_matrix(12) - 0.6
    values.iloc[3, 2] = 0.0
    ax = plots.heatmap(values, "difference", style="tokens", difference=True)
    reach = np.abs(values.to_numpy()).max()
    assert (bar_of(ax).vmin, bar_of(ax).vmax) == (-reach, reach)
    assert faces(ax)[3, 2] == pytest.approx(WHITE, abs=0.01)
    with pytest.raises(BadCall, match="vmax"):
        plots.heatmap(values, style="tokens", difference=True, vmin=0)


def test_cells_at_chance_are_grey_and_apart_from_missing_ones() -> None:
    values = token_matrix(12)
    values.iloc[5, 3] = np.nan
    chance = pd.DataFrame(False, values.index, values.columns)
    chance.iloc[2, 1] = chance.iloc[5, 3] = True
    ax = plots.heatmap(values, style="tokens", chance=chance.iloc[::-1, ::-1])
    assert marked(ax, cells.CHANCE) == [(1, 2)]
    assert faces(ax)[5, 3] == pytest.approx(to_rgba(MISSING))
    assert to_rgba(cells.INDISTINCT) != pytest.approx(to_rgba(MISSING), abs=0.1)
    assert "dark grey: not told from chance" in ax.get_xlabel()
    for wrong in (chance.iloc[:3], chance[["last_q"]], True):
        with pytest.raises(BadCall, match="chance"):
            plots.heatmap(values, style="tokens", chance=wrong)


def test_a_token_may_come_more_than_once(tmp_path: Any) -> None:
    names = ["the", "cat", "and", "the", "dog"]
    values = token_matrix(4).set_axis(names, axis=1)
    chance = pd.DataFrame(False, values.index, names)
    chance.iloc[1, 3] = True
    ax = plots.heatmap(values, "AUC", style="tokens", chance=chance)
    assert x_texts(ax) == names and numbers(ax) == pytest.approx(values.to_numpy())
    assert marked(ax, cells.CHANCE) == [(3, 1)]
    with pytest.raises(BadCall, match="in another order"):
        plots.heatmap(values, style="tokens", chance=chance.iloc[:, ::-1])
    with pytest.raises(BadCall, match="column 'the' is there more than once"):
        plots.heatmap(values, style="modules")
    values.to_csv(tmp_path / "m.csv", index_label="layer")
    again = plots.read_matrix(tmp_path / "m.csv", repeated=True)
    assert x_texts(plots.heatmap(again, style="tokens")) == names
    drawn = [str(tmp_path / "m.csv"), "--style", "tokens", "-o", str(tmp_path / "m.svg")]
    assert CliRunner().invoke(door, ["plot", *drawn]).exit_code == 0
    done = CliRunner().invoke(door, ["plot", drawn[0], "-o", drawn[-1]])
    assert "column 'the' is there more than once" in str(done.exception)


def test_a_diff_has_no_tokens() -> None:
    with pytest.raises(BadCall, match="has no tokens"):
        plots.heatmap(diff_of(rows(4)), style="tokens")


# legible, and safe to draw


@pytest.mark.parametrize("style", ["modules", "importance", "tokens"])
@pytest.mark.parametrize("layers", [28, 32, 36, 60, 126])
def test_labels_do_not_touch(layers: int, style: str) -> None:
    data = token_matrix(layers) if style == "tokens" else diff_of(rows(layers))
    ax = plots.heatmap(data, style=style)
    ax.figure.canvas.draw()
    boxes = sorted([text.get_window_extent() for text in ax.get_yticklabels()], key=lambda b: b.y0)
    assert all(low.y1 <= high.y0 for low, high in pairwise(boxes))
    ticks = [text.get_window_extent() for text in bar_of(ax).ax.get_yticklabels()]
    assert all(low.y1 <= high.y0 for low, high in pairwise(ticks))


def test_names_of_digits_do_not_touch() -> None:
    names = ["all", "0", "1", "2", "3", "4–7", "8–15", "16–31", "32–63", "last"]
    ax = plots.heatmap(pd.DataFrame(np.full((28, 10), 0.7), columns=names), style="tokens")
    ax.figure.canvas.draw()
    texts = ax.get_xticklabels()
    assert [text.get_text() for text in texts] == names
    boxes = [text.get_window_extent() for text in texts]
    assert texts[0].get_rotation() or all(b.x0 - a.x1 > 2 for a, b in pairwise(boxes))


def test_labels_do_not_touch_on_small_axes() -> None:
    ax = Figure(figsize=(4, 2)).subplots()
    plots.heatmap(pd.DataFrame({"attn.q": np.arange(60.0)}), ax=ax)
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.get_yticklabels()]
    assert all(low.y1 <= high.y0 for low, high in pairwise(boxes))
    assert len(boxes) > 4


@pytest.mark.parametrize("style", ["modules", "importance"])
@pytest.mark.parametrize("layers", [28, 60])
def test_in_a_column_of_380_pixels_letters_are_still_nine_high(layers: int, style: str) -> None:
    norms = ("norm.input", "norm.post", "norm.q", "norm.k")
    ax = plots.heatmap(diff_of(rows(layers, (*COMPONENTS, *norms))), style=style)
    width, _ = ax.figure.get_size_inches()
    pixels_a_point = 380 / (72 * width)
    sizes = {text.get_fontsize() for text in [*ax.get_xticklabels(), *ax.get_yticklabels()]}
    assert min(sizes) * pixels_a_point >= 9


def test_nothing_is_drawn_beyond_the_edges_of_the_figure() -> None:
    long = [f"a_rather_long_module_name_{j}" for j in range(20)]
    ax = plots.heatmap(pd.DataFrame(np.random.default_rng(0).random((40, 20)), columns=long), "x")
    ax.figure.canvas.draw()
    tight = ax.figure.get_tightbbox()
    width, height = ax.figure.get_size_inches()
    assert tight.x0 >= 0
    assert tight.y0 >= 0
    assert tight.x1 <= width
    assert tight.y1 <= height


def test_names_from_files_are_text_and_nothing_else(tmp_path: Any) -> None:
    hostile = ("mixer.$\\frac{$", "mixer.a\nb\x00", "mixer." + "x" * 9999, "mixer.<script>")
    diff = diff_of(rows(3, hostile, stack="$^$"), rows(2, hostile, stack="$_"))
    for style in ("modules", "importance"):
        ax = plots.heatmap(diff, "relative_norm", style=style)
        picture = plots.save(ax, tmp_path / f"{style}.svg").read_text("utf-8")
        assert "<script>" not in picture
        assert max(map(len, x_texts(ax))) <= 42
        plots.save(ax, tmp_path / f"{style}.png")


@given(st.text(max_size=200))
def test_shown_names_are_short_and_printable(name: str) -> None:
    assert len(shown(name)) <= 40
    assert shown(name).isprintable()


@given(st.integers(1, 400), st.floats(0.3, 12))
def test_ticks_start_at_zero_end_at_the_last_layer_and_stay_apart(
    layers: int, apart: float
) -> None:
    ticks = layer_ticks(layers, apart)
    assert ticks[-1] == layers - 1
    assert ticks[0] == 0 or layers - 1 < max(apart, 1.5)
    gaps = np.diff(ticks)
    assert (gaps >= apart).all() or len(ticks) <= 2
    assert len({*gaps[:-1].tolist()}) <= 1
    if layers > 8 and apart <= 3:
        assert gaps[0] in (3, 4)


@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-9, 1e6),
)
def test_bar_ticks_are_few_inside_and_told_apart_by_their_texts(low: float, span: float) -> None:
    high = low + span
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        return
    ticks = round_ticks(low, high)
    assert 1 <= len(ticks) <= 5
    assert all(low <= tick <= high for tick in ticks)
    assert len({*tick_texts(ticks)}) == len(ticks)
    for tick, text in zip(ticks, tick_texts(ticks), strict=True):
        assert float(text.replace("−", "-")) == pytest.approx(tick, abs=1e-2 * span)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.lists(
            st.floats() | st.sampled_from([5e-324, 1e-310, 1.0, 1 + 2**-52, 1e308, -1e308]),
            min_size=2,
            max_size=2,
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(
        [
            {},
            {"robust": True},
            {"normalise": "component"},
            {"center": 0.0},
            {"style": "importance"},
            {"style": "tokens", "difference": True},
        ]
    ),
)
def test_any_numbers_are_drawn_without_a_warning_if_there_are_any(
    numbers: list[list[float]], options: dict[str, Any]
) -> None:
    values = pd.DataFrame(numbers, columns=["attn.q", "x"])
    if not (values.abs() <= 1e100).to_numpy().any():
        with pytest.raises(BadCall, match="nothing to draw"):
            plots.heatmap(values, **options)
        return
    ax = plots.heatmap(values, "x", **options)
    ax.figure.canvas.draw()


# figures and files


def test_pyplot_knows_nothing_of_our_figures() -> None:
    from matplotlib import pyplot as plt

    before, backend = plt.get_fignums(), mpl.get_backend()
    settings_before = dict(mpl.rcParams)
    ax = plots.heatmap(diff_of(rows(4)))
    assert plt.get_fignums() == before
    assert mpl.get_backend() == backend
    assert isinstance(ax.figure, Figure)
    assert dict(mpl.rcParams) == settings_before


def test_a_given_axes_is_drawn_on_and_returned() -> None:
    figure = Figure(figsize=(8, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    assert plots.heatmap(diff_of(rows(12)), ax=left) is left
    assert plots.heatmap(token_matrix(12), "AUC", style="tokens", ax=right) is right
    assert x_texts(left) == PUBLISHED
    nested = Figure(figsize=(8, 5)).subfigures(1, 2)[1].subplots()
    assert plots.heatmap(diff_of(rows(12)), ax=nested) is nested


@pytest.mark.parametrize(
    ("ending", "start"),
    [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89")],
)
def test_the_same_figure_gives_the_same_bytes(tmp_path: Any, ending: str, start: bytes) -> None:
    diff = diff_of(rows(12))
    first = plots.save(plots.heatmap(diff), tmp_path / f"made/a{ending}")
    second = plots.save(plots.heatmap(diff).figure, str(tmp_path / f"b{ending}"))
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(start)
    assert b"matplotlib.org" not in first.read_bytes() or ending == ".svg"
    assert [path.name for path in first.parent.iterdir()] == [f"a{ending}"]


def test_a_figure_is_whole_or_not_there(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ax = plots.heatmap(diff_of(rows(4)))
    kept = plots.save(ax, tmp_path / "a.png").read_bytes()

    def halfway(self: Figure, path: Any, **_: Any) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", halfway)
    with pytest.raises(KeyboardInterrupt):
        plots.save(ax, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_an_unknown_ending_and_a_folder_that_cannot_be_are_one_line(tmp_path: Any) -> None:
    ax = plots.heatmap(diff_of(rows(4)))
    with pytest.raises(BadCall, match=r"\.png, \.svg, \.pdf"):
        plots.save(ax, tmp_path / "a.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadFile, match="cannot be written"):
        plots.save(ax, tmp_path / "file/a.png")


def test_a_sub_figure_saves_the_whole(tmp_path: Any) -> None:
    nested = Figure(figsize=(8, 5)).subfigures(1, 2)[1].subplots()
    assert plots.save(plots.heatmap(diff_of(rows(4)), ax=nested), tmp_path / "a.png").exists()


def test_threads_draw_the_same_pictures(tmp_path: Any) -> None:
    diff = diff_of(rows(12))

    def draw(k: int) -> bytes:
        return plots.save(plots.heatmap(diff), tmp_path / f"{k}.svg").read_bytes()

    with ThreadPoolExecutor(4) as threads:
        assert len({*threads.map(draw, range(8))}) == 1
    assert mpl.rcParams["svg.hashsalt"] is None


def test_importing_ftdiff_loads_no_plotting_library() -> None:
    code = "import ftdiff, sys; print(sorted({'seaborn', 'matplotlib', 'torch'} & {*sys.modules}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_style_is_documented_and_takes_axes() -> None:
    for name, style in plots.STYLES.items():
        assert style.__doc__, name
        ax = Figure().subplots()
        assert style(pd.DataFrame({"attn.q": [0.5, 0.9]}), "x", ax=ax) is ax


# matrices from files


def test_a_table_saved_as_csv_or_json_is_read_back(tmp_path: Any) -> None:
    table = diff_of(rows(28)).table()
    table.iloc[3, 2] = np.nan
    table.to_csv(tmp_path / "a.csv")
    table.to_csv(tmp_path / "a.tsv", sep="\t")
    for orient in ("columns", "split"):
        table.to_json(tmp_path / f"{orient}.json", orient=orient, double_precision=15)
    table.reset_index().to_json(tmp_path / "records.json", orient="records", double_precision=15)
    lists = {"layer": [*range(28)], **{c: table[c].tolist() for c in table}}
    (tmp_path / "lists.json").write_text(json.dumps(lists))
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 6
    for path in paths:
        read = plots.read_matrix(path)
        assert list(read.columns) == list(COMPONENTS), path.name
        assert list(read.index) == list(range(28)), path.name
        np.testing.assert_allclose(read.to_numpy(), table.to_numpy(), rtol=1e-13)
        assert read.dtypes.eq(float).all()


def test_a_matrix_of_tokens_keeps_names_and_order(tmp_path: Any) -> None:
    (tmp_path / "t.csv").write_text(
        "﻿Layer,last_q,exact_answer_first,−1\n1,0.5,NA,\n0,.75,1,nan\n", "utf-8"
    )
    read = plots.read_matrix(tmp_path / "t.csv")
    assert list(read) == ["last_q", "exact_answer_first", "−1"]
    assert list(read.index) == [1, 0]
    assert read.isna().to_numpy().tolist() == [[0, 1, 1], [0, 0, 1]]
    ax = plots.heatmap(read, "AUC", style="tokens")
    assert numbers(ax)[0, 0] == 0.75
    assert y_ticks(ax) == {0.5: "0", 1.5: "1"}


def test_without_a_column_of_layers_they_are_counted(tmp_path: Any) -> None:
    (tmp_path / "a.csv").write_text("attn.q,attn.k\n1,2\n3,4\n5,6\n")
    assert list(plots.read_matrix(str(tmp_path / "a.csv")).index) == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a header and a line"),
        ("layer,attn.q\n", "a header and a line"),
        ("layer,attn.q\n0,1,2\n", "line 2 has 3 cells"),
        ("layer,attn.q\n0,much\n", "layer 0, column 'attn.q': 'much'"),
        ("layer,attn.q\n0,1\n0,2\n", "layer 0 is there more than once"),
        ("layer,a,a\n0,1,2\n", "column 'a' is there more than once"),
        ("layer\n0\n", "no matrix"),
        ("[]", "JSON of a matrix"),
        ("{}", "JSON of a matrix"),
        ("[1, 2]", "JSON of a matrix"),
        ("{", "not a matrix"),
        ('{"a": 1}', "each column"),
        ('{"a": [1], "b": [1, 2]}', "different lengths"),
        ('{"a": [true]}', "'True' is not a number"),
        ('{"a": [[1]]}', "is not a number"),
        ('{"a": [1' + "0" * 400 + "]}", "is not a number"),
        ('{"columns": ["a"], "data": [[1, 2]]}', "a list of 1 numbers"),
        ('{"columns": ["a"], "index": [1, 2], "data": [[1]]}', "1 rows, 2 layers"),
        ('{"data": [[1]]}', "JSON of a matrix"),
        ('{"format": "ftdiff.diff/1", "about": {}, "tensors": []}', "ftdiff.load"),
        ("[" * 100_000, "not a matrix"),
        ("a,b\n1,\0\n", ""),
    ],
)
def test_what_is_no_matrix_file_is_one_line(tmp_path: Any, text: str, said: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(BadFile) as refused:
        plots.read_matrix(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert said in message
    assert "\n" not in message


def test_a_file_that_is_none_is_one_line(tmp_path: Any) -> None:
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.csv", "b.csv", "."):
        with pytest.raises(BadFile):
            plots.read_matrix(tmp_path / name)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60))
def test_any_text_is_a_matrix_or_a_bad_file(tmp_path_factory: Any, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(text, "utf-8")
    try:
        read = plots.read_matrix(path)
    except BadFile as error:
        assert "\n" not in str(error)
    else:
        assert read.dtypes.eq(float).all()


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["layer", "data", "columns", "index", "a"]), inner)
    ),
    max_leaves=12,
)


@example({"columns": ["data"], "index": ["0\n0"], "data": [[False]]})
@settings(deadline=None, max_examples=200)
@given(json_values)
def test_any_json_is_a_matrix_or_a_bad_file(tmp_path_factory: Any, document: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(document), "utf-8")
    try:
        plots.read_matrix(path)
    except BadFile as error:
        assert "\n" not in str(error)


def test_very_many_cells_are_one_picture_in_a_file_of_vectors(tmp_path: Path) -> None:
    draw, found = np.random.default_rng(0), []
    for count in (400, 600):
        values = pd.DataFrame(draw.random((count, 40)), columns=[f"c{i}" for i in range(40)])
        path = tmp_path / f"{count}.svg"
        plots.save(plots.heatmap(values), path)
        found.append((path.read_text().count("<image"), path.stat().st_size > 500_000))
    assert found == [(1, True), (2, False)]  # the colour bar is one
