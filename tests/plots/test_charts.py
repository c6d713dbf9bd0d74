"""What profiles, scatters, energy bars and spectra show is read back and compared with the data."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgba

import ftdiff
from ftdiff import plots
from ftdiff.comparison.component_styles import looks
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall, UnknownName
from ftdiff.plots.charts import axes as chart
from ftdiff.plots.charts.axes import notes_of
from ftdiff.plots.charts.energy import CHANGE, LIFT, PARAMETERS
from ftdiff.plots.charts.scatter import ARC, legs
from ftdiff.plots.elements.cells import FLOOR
from tests.plots.drawings import COMPONENTS, PUBLISHED, diff_of, movement, rows

FIGURES = ("profile", "scatter", "energy")


def line(ax: Any, label: str) -> Any:
    """The line of this label; a name's points may be several."""
    return next(one for one in ax.get_lines() if one.get_label() == label)


def marks(ax: Any, gid: str) -> list[Any]:
    return [one for one in [*ax.get_lines(), *ax.collections] if one.get_gid() == gid]


def legend(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def x_ticks(ax: Any) -> dict[float, str]:
    texts = [text.get_text() for text in ax.get_xticklabels()]
    return dict(zip(ax.get_xticks().tolist(), texts, strict=True))


# profiles


@pytest.mark.parametrize(("layers", "step"), [(28, 3), (32, 4), (36, 4), (60, 4)])
def test_a_profile_has_a_line_for_each_component_over_the_layers(layers: int, step: int) -> None:
    ax = plots.profile(diff_of(rows(layers)))
    for j, component in enumerate(COMPONENTS):
        drawn = line(ax, component)
        assert drawn.get_xdata().tolist() == list(range(layers))
        assert drawn.get_ydata() == pytest.approx([movement(i, j) for i in range(layers)])
        assert to_hex(drawn.get_color()) == looks([component])[component].colour.lower()
    assert legend(ax) == PUBLISHED
    ticks = sorted({*range(0, layers - 4 * (layers == 60), step), layers - 1})  # 56 would touch 59
    assert x_ticks(ax) == {layer: str(layer) for layer in ticks}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Layer", "‖ΔW‖/‖W‖")


def test_the_grey_band_is_of_the_layers_lines_and_says_so() -> None:
    ax = plots.profile(diff_of(rows(28)), band=(25, 75))
    (band,) = marks(ax, chart.BAND)
    heights = band.get_paths()[0].vertices
    for layer in (0, 13, 27):
        values = [movement(layer, j) for j in range(7)]
        at = heights[heights[:, 0] == layer][:, 1]
        assert [at.min(), at.max()] == pytest.approx(np.percentile(values, [25, 75]))
    assert "grey band: 25–75 % of the layer's lines" in notes_of(ax)
    assert marks(plots.profile(diff_of(rows(28)), band=None), chart.BAND) == []


def test_lines_of_several_tensors_are_from_sums_and_banded_by_their_tensors() -> None:
    diff = diff_of(rows(28))
    ax = plots.profile(diff, by="block")
    assert legend(ax) == ["attn", "mlp"]
    exact = diff.by("layer", "block", param="weight").pivot(
        index="layer", columns="block", values="relative_norm"
    )
    for block in ("attn", "mlp"):
        assert line(ax, block).get_ydata() == pytest.approx(exact[block].to_numpy(float))
    bands = {band.get_label(): band for band in marks(ax, chart.BAND)}
    assert bands.keys() == {"attn", "mlp"}
    heights = bands["mlp"].get_paths()[0].vertices
    ends = np.percentile([movement(9, j) for j in (4, 5, 6)], [5, 95])
    drawn = heights[heights[:, 0] == 9][:, 1]
    assert [drawn.min(), drawn.max()] == pytest.approx(ends)
    assert to_rgba(bands["mlp"].get_facecolor()[0])[:3] == to_rgba(line(ax, "mlp").get_color())[:3]
    assert "band: 5–95 % of the tensors of each line" in notes_of(ax)
    whole = plots.profile(diff, by="layer")
    exact_layers = diff.by("layer", param="weight")["relative_norm"].to_numpy(float)
    assert line(whole, "whole layer").get_ydata() == pytest.approx(exact_layers)


def test_the_precision_floor_is_a_line_where_both_can_be_seen_and_a_number_else() -> None:
    def floored(floor: float) -> Any:
        made = [{**row, "ulp_sq": 12 * 100 * floor**2} for row in rows(28)]
        return plots.profile(diff_of(made))

    near = floored(0.008)
    (drawn,) = marks(near, chart.NOISE)
    assert drawn.get_ydata() == pytest.approx(np.full(28, 0.008))
    assert near.get_ylim()[0] < 0.008
    assert "dotted: precision floor" in notes_of(near)
    made = [{**row, "delta_sq": 100 * (0.5 + 0.0001 * row["layer"]) ** 2} for row in rows(28)]
    far = plots.profile(diff_of([{**row, "ulp_sq": 12 * 100 * 0.0017**2} for row in made]))
    assert marks(far, chart.NOISE) == []
    assert "precision floor: 0.0017, below the axis" in notes_of(far)
    assert far.get_ylim()[0] > 0.4
    assert "precision floor" not in notes_of(plots.profile(diff_of(made), noise=False))


def test_noise_of_another_metric_is_what_the_metric_says() -> None:
    diff = diff_of(rows(28))
    ax = plots.profile(diff, "lift")
    (drawn,) = marks(ax, chart.NOISE)
    assert drawn.get_ydata() == pytest.approx(np.ones(28))
    assert "dotted: what noise gives" in notes_of(ax)


def test_points_under_the_floor_are_hollow_and_gaps_stay_gaps() -> None:
    made = rows(28)
    for row in made:
        if row["component"] == "attn.k" and row["layer"] == 5:
            row["ulp_sq"] = row["delta_sq"] * 12 / 9
        if row["component"] == "attn.k" and row["layer"] in (9, 11):
            row |= {"status": "untouched", "delta_sq": None}
    ax = plots.profile(diff_of(made))
    (hollow,) = marks(ax, FLOOR)
    assert (hollow.get_xdata().tolist(), hollow.get_markerfacecolor()) == ([5], "white")
    drawn = line(ax, "attn.k").get_ydata()
    assert np.flatnonzero(np.isnan(drawn)).tolist() == [9, 11]
    lone = [one for one in ax.get_lines() if one.get_xdata().tolist() == [10]]
    assert [one.get_marker() for one in lone] == ["o"]  # a line of one point is not seen
    assert "gaps: no value" in notes_of(ax)
    assert "hollow: not above rounding (snr < 10)" in notes_of(ax)
    clean = notes_of(plots.profile(diff_of(rows(28))))
    assert "hollow" not in clean and "gaps" not in clean


def test_a_depth_trend_that_was_found_is_drawn_with_its_own_slope() -> None:
    rise = 0.04

    def rising(layer: int, j: int) -> float:
        noise = 0.01 * ((layer * 7 + j * 3) % 5 - 2)
        return 0.02 * float(np.exp(rise * layer * (j == 5) + noise))

    diff = diff_of(rows(28, move=rising))
    found = ftdiff.findings(diff)
    told = [one.evidence["trends"] for one in found if one.rule == "depth-trend"]
    assert [[one["component"] for one in trends] for trends in told] == [["mlp.down"]]
    (trend,) = marks(plots.profile(diff, trend=found), chart.TREND)
    assert trend.get_label() == "trend of mlp.down"
    steps = np.diff(np.log(trend.get_ydata()))
    assert steps == pytest.approx(np.full(27, np.log1p(told[0][0]["percent"] / 100) / 27))
    assert np.median(np.log(line(plots.profile(diff), "mlp.down").get_ydata())) == pytest.approx(
        np.median(np.log(trend.get_ydata())), abs=0.02
    )
    assert marks(plots.profile(diff), chart.TREND) == []


def test_a_plain_matrix_has_a_profile_of_its_columns() -> None:
    values = pd.DataFrame({"attn. q": [0.1, 0.2, 0.4], "other": [0.3, np.nan, 0.1]})
    ax = plots.profile(values, "loss", log=True)
    assert legend(ax) == ["attn. q", "other"]
    assert ax.get_ylabel() == "loss"
    assert ax.get_yscale() == "log"
    with pytest.raises(BadCall, match="draw a Diff"):
        plots.profile(values, by="block")


@pytest.mark.parametrize(
    ("options", "said"),
    [({"by": "head"}, "by='head'"), ({"band": (90, 10)}, "band"), ({"band": (0, 200)}, "band")],
)
def test_wrong_options_of_a_profile_are_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadCall, match=said):
        plots.profile(diff_of(rows(3)), **options)


# scale against rotation


def turned(layers: int = 28, **facts: Any) -> list[dict[str, Any]]:
    """Rows of which o is rescaled by up to a fifth, and everything is turned."""
    made = rows(layers)
    for row in made:
        across = row["delta_sq"]
        along = 0.01 * row["layer"] * (row["role"] == "o")
        row |= {"inner": along * 100, "delta_sq": across + along**2 * 100}
        row |= {"tuned_sq": 100 + 2 * row["inner"] + row["delta_sq"]}
        row |= facts
    return made


def points(ax: Any) -> dict[str, np.ndarray]:
    """The points of each label, as x and y."""
    found: dict[str, list[Any]] = {}
    for one in ax.get_lines():
        if one.get_linestyle() == "None":
            found.setdefault(one.get_label(), []).append(one.get_xydata())
    return {name: np.concatenate(several) for name, several in found.items()}


def test_a_points_distance_is_the_relative_norm_and_its_legs_are_scale_and_rotation() -> None:
    diff = diff_of(turned())
    drawn = points(plots.scatter(diff))
    assert [*drawn] == list(COMPONENTS)
    for component, xy in drawn.items():
        part = diff.frame[diff.frame["component"] == component].sort_values("tensor")
        distance = np.hypot(*xy.T)
        assert distance == pytest.approx(part["relative_norm"].to_numpy(float), rel=1e-9)
        assert xy[:, 0] == pytest.approx(part["scale"].to_numpy(float) - 1)
        share = xy[:, 0] ** 2 / distance**2
        assert share == pytest.approx(part["scale_share"].to_numpy(float), abs=1e-12)


def test_real_points_keep_pythagoras(fixtures: Path) -> None:
    for tuned in ("full", "lora"):
        diff = ftdiff.compare(fixtures / "base", fixtures / tuned)
        moved = legs(diff)
        norms = diff.frame.set_index("tensor")["relative_norm"].astype(float)
        assert np.hypot(moved["x"], moved["y"]).to_numpy() == pytest.approx(
            norms[moved["tensor"]].to_numpy(), rel=1e-6
        )


def test_arcs_join_what_has_one_relative_norm() -> None:
    ax = plots.scatter(diff_of(turned()))
    arcs = marks(ax, ARC)
    radii = [np.unique(np.hypot(*arc.get_xydata().T).round(12)).tolist() for arc in arcs]
    assert all(len(r) == 1 for r in radii)
    written = {t.get_text() for t in ax.texts if t.get_gid() is None}
    assert {f"{r[0]:.2g}".rstrip("0") for r in radii} <= {t.rstrip("0") for t in written}


def test_both_axes_have_one_unit_unless_hardly_anything_was_rescaled() -> None:
    round_ = plots.scatter(diff_of(turned()))
    assert round_.get_aspect() == 1.0
    assert "stretched" not in notes_of(round_)
    flat = plots.scatter(diff_of(rows(28, move=lambda layer, j: 0.1)))
    assert flat.get_aspect() == "auto"
    assert "x is stretched" in notes_of(flat)
    assert plots.scatter(diff_of(rows(28)), equal=True).get_aspect() == 1.0


def test_points_under_the_floor_are_hollow() -> None:
    made = turned()
    for row in made:
        if row["layer"] == 3:
            row["ulp_sq"] = row["delta_sq"] * 12 / 9
    ax = plots.scatter(diff_of(made))
    hollow = marks(ax, FLOOR)
    assert [one.get_label() for one in hollow] == list(COMPONENTS)
    assert {one.get_markerfacecolor() for one in hollow} == {"white"}
    assert sum(len(one.get_xdata()) for one in hollow) == 7
    assert sum(map(len, points(ax).values())) == 28 * 7
    assert "hollow: not above rounding" in notes_of(ax)


def test_what_is_no_projection_is_a_point_of_its_block() -> None:
    diff = diff_of(turned(), rows(28, ("norm.input", "norm.post")), rows(1, ("embed.tokens",)))
    ax = plots.scatter(diff)
    assert legend(ax) == [*PUBLISHED, "embed", "norm"]
    assert len(points(ax)["norm"]) == 56
    assert legend(plots.scatter(diff, others=False)) == PUBLISHED


def test_a_scatter_without_a_base_says_what_it_needs() -> None:
    lone = Diff.of_rows(rows(4, base_sq=None, tuned_sq=None, inner=None), {"base": None})
    with pytest.raises(BadCall, match="need a base"):
        plots.scatter(lone)
    with pytest.raises(BadCall, match="cannot show snr"):
        plots.scatter(diff_of(rows(3)), "snr")
    with pytest.raises(UnknownName, match="stack"):
        plots.scatter(diff_of(rows(3)), stack="decoder")


# energy


def bars(ax: Any, gid: str) -> dict[str, Any]:
    names = {y: t.get_text() for y, t in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
    found = [bar for bar in ax.patches if str(bar.get_gid()).startswith(gid)]
    return {names[round(bar.get_y() + bar.get_height() / 2)]: bar for bar in found}


def test_energy_bars_are_the_shares_and_what_is_written_is_the_lift() -> None:
    embed = [{**row, "numel": 640, "delta_sq": 300.0} for row in rows(1, ("embed.tokens",))]
    diff = diff_of(rows(28), embed)
    ax = plots.energy(diff)
    table = diff.by("component", metrics=("energy_share", "lift")).set_index("component")
    change, size = bars(ax, CHANGE), bars(ax, PARAMETERS)
    assert [*change] == [*PUBLISHED, "embed. tokens"]
    written = [t.get_text() for t in ax.texts if t.get_gid() == LIFT]
    for (name, bar), said in zip(change.items(), written, strict=True):
        row = table.loc[name.replace(". ", ".")]
        assert bar.get_width() == pytest.approx(row["energy_share"])
        assert size[name].get_width() == pytest.approx(row["energy_share"] / row["lift"])
        assert float(said.removeprefix("lift ").replace(",", "")) == pytest.approx(
            row["lift"], rel=0.05
        )
        assert to_rgba(bar.get_facecolor())[0] > 0.5 if row["lift"] > 1 else True
    assert sum(bar.get_width() for bar in size.values()) == pytest.approx(1)
    assert change["embed. tokens"].get_facecolor() != change["attn. q"].get_facecolor()


def test_many_small_components_are_one_bar() -> None:
    many = tuple(f"mixer.part_{k}" for k in range(30))
    ax = plots.energy(diff_of(rows(4, many)), most=6)
    assert len(ax.get_yticks()) == 6
    assert ax.get_yticklabels()[-1].get_text() == "others (25)"
    total = sum(bar.get_width() for bar in bars(ax, CHANGE).values())
    assert total == pytest.approx(1)


def test_energy_under_the_floor_is_hatched() -> None:
    made = [{**row, "ulp_sq": row["delta_sq"] * 12 / 5} for row in rows(4)]
    ax = plots.energy(diff_of(made))
    assert all(bar.get_hatch() for bar in bars(ax, CHANGE).values())
    assert "hatched: not above rounding" in notes_of(ax)
    assert not any(bar.get_hatch() for bar in bars(plots.energy(diff_of(rows(4))), CHANGE).values())


def test_energy_of_nothing_is_said() -> None:
    still = diff_of(rows(3, status="identical", delta_sq=0.0))
    with pytest.raises(BadCall, match="nothing of this diff moved"):
        plots.energy(still)
    with pytest.raises(UnknownName, match="column"):
        plots.energy(diff_of(rows(3)), by="nonsense")


# all of them


@pytest.mark.parametrize("style", FIGURES)
@pytest.mark.parametrize("layers", [28, 60])
def test_letters_are_nine_pixels_high_in_a_narrow_column(style: str, layers: int) -> None:
    ax = plots.draw(diff_of(turned(layers)), style=style)
    ax.figure.canvas.draw()
    width, height = ax.figure.get_size_inches()
    shown = [*ax.get_xticklabels(), *ax.get_yticklabels()]
    shown += ax.get_legend().get_texts() if ax.get_legend() else []
    assert min(t.get_fontsize() for t in shown) * 380 / (72 * width) >= 9
    tight = ax.figure.get_tightbbox()
    assert tight.x0 >= 0 and tight.y0 >= 0 and tight.x1 <= width and tight.y1 <= height


@pytest.mark.parametrize("style", FIGURES)
def test_labels_of_charts_do_not_touch(style: str) -> None:
    ax = plots.draw(diff_of(turned(60)), style=style)
    ax.figure.canvas.draw()
    across = [t.get_window_extent() for t in ax.get_xticklabels()]
    assert all(a.x1 <= b.x0 for a, b in pairwise(across))
    if ax.get_legend():
        boxes = [t.get_window_extent() for t in ax.get_legend().get_texts()]
        apart = [not a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i]]
        assert all(apart)
        assert max(box.x1 for box in boxes) <= ax.figure.bbox.x1


@pytest.mark.parametrize("style", FIGURES)
def test_bare_charts_have_no_words(style: str) -> None:
    ax = plots.draw(diff_of(turned()), style=style, bare=True)
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("", "", "")
    assert ax.get_legend() is None
    assert notes_of(ax) == ""


@pytest.mark.parametrize("style", FIGURES)
def test_names_from_files_are_only_drawn(style: str, tmp_path: Path) -> None:
    hostile = ("mixer.$\\frac{$", "mixer.a\nb\x00", "mixer." + "x" * 9999, "mixer.<script>")
    ax = plots.draw(diff_of(rows(3, hostile, stack="$^$")), style=style)
    picture = plots.save(ax, tmp_path / "x.svg").read_text("utf-8")
    assert "<script>" not in picture
    plots.save(ax, tmp_path / "x.png")


def test_every_figure_is_documented_and_asked_for_by_name() -> None:
    for name, figure in plots.FIGURES.items():
        assert figure.__doc__ and "Parameters" in figure.__doc__, name
    with pytest.raises(UnknownName, match="did you mean 'scatter'"):
        plots.draw(diff_of(rows(2)), style="scater")
    with pytest.raises(UnknownName, match=r"option of style 'scatter'.*robust"):
        plots.draw(diff_of(rows(2)), style="scatter", robust=True)


numbers_of_a_file = st.floats() | st.sampled_from([0.0, 5e-324, 1e-310, 1.0, 1e308, -1e308])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(numbers_of_a_file, min_size=3, max_size=3), min_size=1, max_size=5),
    st.sampled_from([{}, {"log": True}, {"bare": True}, {"band": None}]),
)
def test_a_profile_of_any_numbers_is_drawn_without_a_warning(
    given_numbers: list[list[float]], options: dict[str, Any]
) -> None:
    values = pd.DataFrame(given_numbers, columns=["attn.q", "x", "y"])
    if not (values.abs() <= 1e100).to_numpy().any():
        return
    if options.get("log") and not (values[values.abs() <= 1e100] >= 1e-100).to_numpy().any():
        with pytest.raises(BadCall, match="has a logarithm"):
            plots.profile(values, "x", **options)
        return
    plots.profile(values, "x", **options).figure.canvas.draw()


_NOTHING = dict.fromkeys(("base_sq", "tuned_sq", "delta_sq", "inner", "ulp_sq"), 0.0)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.fixed_dictionaries(
            dict.fromkeys(("base_sq", "tuned_sq", "delta_sq", "inner", "ulp_sq"), numbers_of_a_file)
        ),
        min_size=1,
        max_size=7,
    ),
    st.sampled_from(FIGURES),
)
@example([{**_NOTHING, "delta_sq": x} for x in (0.0, 0.0, 0.0, 0.0, 7.0, 1e308, -1e308)], "energy")
def test_any_sums_of_a_saved_diff_are_drawn_or_refused_without_a_warning(
    sums: list[dict[str, float]], style: str
) -> None:
    made = rows(1)[: len(sums)]
    diff = diff_of([{**row, **one} for row, one in zip(made, sums, strict=True)])
    try:
        ax = plots.draw(diff, style=style)
    except BadCall as error:
        assert "nothing to draw" in str(error)
        return
    ax.figure.canvas.draw()
