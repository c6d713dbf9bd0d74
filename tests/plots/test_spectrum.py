"""What is kept of a spectrum, what a file may say of one, and what is drawn of it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ftdiff
from ftdiff import plots
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall, BadFile, UnknownName
from ftdiff.metrics.linalg.spectrum_curve import FIRST, MOST, curve, fault, kept
from ftdiff.plots.charts.axes import notes_of
from ftdiff.plots.charts.spectrum import EDGE
from tests.conftest import FIXTURES


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Diff]:
    """Diffs with spectra, each read back from its file."""
    folder = tmp_path_factory.mktemp("spectra")
    made = {}
    for name in ("full", "lora", "merged"):
        diff = ftdiff.compare(FIXTURES / "base", FIXTURES / name, ["spectral", "magnitude"])
        made[name] = Diff.load(diff.save(folder / f"{name}.json"))
    return made


def lines(ax: Any) -> dict[str, Any]:
    return {one.get_label(): one for one in ax.get_lines() if one.get_gid() != EDGE}


def edges(ax: Any) -> list[float]:
    return [float(one.get_ydata()[0]) for one in ax.get_lines() if one.get_gid() == EDGE]


def change_of(name: str, tensor: str) -> Any:
    sides = (ftdiff.open_checkpoint(FIXTURES / side).tensors[tensor] for side in (name, "base"))
    tuned, base = (side.read().astype(np.float64) for side in sides)
    return tuned - base


@given(st.integers(1, 10**7))
def test_few_points_are_kept_the_first_ones_whole_and_the_last(count: int) -> None:
    index = kept(count)
    assert len(index) <= MOST
    assert index[: min(FIRST, count)] == list(range(1, min(FIRST, count) + 1))
    assert index[-1] == count
    assert all(a < b for a, b in pairwise(index))


@given(
    st.lists(st.floats(1e-200, 1e200), min_size=1, max_size=200),
    st.floats(1e-200, 1e200) | st.just(float("nan")),
    st.none() | st.integers(1, 4096),
)
def test_what_is_kept_has_no_fault_even_after_a_file(
    sigma: list[float], edge: float, rank: int | None
) -> None:
    record = curve(np.sort(sigma)[::-1], edge, rank)
    assert fault(record) == ""
    assert fault(json.loads(json.dumps(record))) == ""
    assert record["count"] == len(sigma)
    assert record["sigma"][0] == pytest.approx(max(sigma), rel=1e-5)


def test_the_kept_values_are_the_matrix_own(saved: dict[str, Diff]) -> None:
    for name in ("full", "merged"):
        notes = saved[name].about["spectra"]
        for tensor in list(notes)[:9]:
            record = notes[tensor]["curve"]
            exact = np.linalg.svd(change_of(name, tensor), compute_uv=False)
            at = np.array(record["index"]) - 1
            assert record["sigma"] == pytest.approx(exact[at], rel=1e-4, abs=1e-5 * exact[0])
            row = saved[name].frame.set_index("tensor").loc[tensor]
            assert record["above"] == row["mp_excess"]
            assert record["above"] == (exact > record["edge"]).sum()


def test_a_spectrum_is_kept_only_where_the_whole_was_measured(saved: dict[str, Diff]) -> None:
    largest = ftdiff.compare(FIXTURES / "base", FIXTURES / "full", ["spectral_norm"])
    assert not any("curve" in note for note in largest.about["spectra"].values())
    moved = saved["lora"].frame["status"] == "changed"
    notes = saved["lora"].about["spectra"]
    assert {*saved["lora"].frame.loc[moved, "tensor"]} == {*notes}
    assert {note["curve"]["rank"] for note in notes.values()} == {4}
    assert {note["curve"]["edge"] for note in notes.values()} == {None}


def test_of_stacked_experts_the_largest_is_kept_and_named() -> None:
    draw = np.random.default_rng(0)
    W = draw.normal(size=(3, 20, 30))
    dW = draw.normal(size=(3, 20, 30)) * np.array([1.0, 9.0, 2.0])[:, None, None]
    name = "layers.0.mlp.experts.gate_up_proj"
    diff = ftdiff.compare({name: W}, {name: W + dW}, ["spectral"])
    record = diff.about["spectra"][name]["curve"]
    assert record["matrix"] == 1
    exact = np.linalg.svd(dW[1], compute_uv=False)
    assert record["sigma"] == pytest.approx(exact[:20], rel=1e-5)


def test_a_saved_diff_stays_small(tmp_path: Path) -> None:
    plain = ftdiff.compare(FIXTURES / "base", FIXTURES / "lora").save(tmp_path / "a.json")
    measured = ftdiff.compare(FIXTURES / "base", FIXTURES / "lora", ["spectral", "magnitude"])
    whole = measured.save(tmp_path / "b.json")
    assert whole.stat().st_size < 2 * plain.stat().st_size
    longest = curve(np.linspace(9.87654321, 1e-9, 11_000), 1.23456789)
    assert len(json.dumps(longest)) < 2500


@pytest.mark.parametrize(
    "change",
    [
        {"sigma": "much"},
        {"sigma": [1.0]},
        {"sigma": [], "index": []},
        {"sigma": [1.0, 2.0, 3.0, 4.0]},
        {"sigma": [4.0, 3.0, 2.0, -1.0]},
        {"sigma": [4.0, 3.0, 2.0, None]},
        {"sigma": [10**400, 3.0, 2.0, 1.0]},
        {"index": [1, 2, 3, 9]},
        {"index": [0, 1, 2, 3]},
        {"index": [1, 3, 2, 4]},
        {"index": [1, 2, 3, 4.0]},
        {"index": [1, 2, 3, True]},
        {"count": 10**300},
        {"count": None},
        {"edge": 1.0},
        {"edge": "1", "above": 2},
        {"edge": float("inf"), "above": 2},
        {"above": 2},
        {"edge": 1.0, "above": -1},
        {"rank": 2.5},
    ],
)
def test_a_false_spectrum_in_a_file_is_refused_in_one_line(
    saved: dict[str, Diff], tmp_path: Path, change: dict[str, Any]
) -> None:
    document = json.loads(saved["lora"].save(tmp_path / "d.json").read_text())
    name, note = next(iter(document["about"]["spectra"].items()))
    note["curve"] |= change
    (tmp_path / "d.json").write_text(json.dumps(document).replace("Infinity", "1e999"))
    with pytest.raises(BadFile) as refused:
        Diff.load(tmp_path / "d.json")
    assert "\n" not in str(refused.value)
    assert f"about.spectra of {name}: " in str(refused.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@settings(max_examples=300)
@given(
    st.fixed_dictionaries(
        dict.fromkeys(("count", "index", "sigma", "edge", "above", "rank"), json_values)
    )
    | json_values
)
def test_any_record_is_judged_without_a_traceback(found: Any) -> None:
    assert isinstance(fault(found), str)


@pytest.mark.parametrize("spectra", [[], 3, {"w": 3}, {"w": {"bound": "x"}}, {"w": {"curve": 1}}])
def test_notes_that_are_none_are_refused(
    saved: dict[str, Diff], tmp_path: Path, spectra: Any
) -> None:
    document = json.loads(saved["lora"].save(tmp_path / "d.json").read_text())
    document["about"]["spectra"] = spectra
    (tmp_path / "d.json").write_text(json.dumps(document))
    with pytest.raises(BadFile, match="not a diff saved by ftdiff"):
        Diff.load(tmp_path / "d.json")


# the figure


def test_a_spectrum_is_drawn_from_a_saved_diff_as_it_was_measured(saved: dict[str, Diff]) -> None:
    tensor = "model.layers.9.mlp.up_proj.weight"
    ax = plots.spectrum(saved["full"], tensors=[tensor])
    drawn = lines(ax)[tensor]
    exact = np.linalg.svd(change_of("full", tensor), compute_uv=False)
    assert drawn.get_xdata() == pytest.approx(np.arange(1, 37))
    assert drawn.get_ydata() == pytest.approx(exact, rel=1e-5)
    assert ax.get_yscale() == "log"
    record = saved["full"].about["spectra"][tensor]["curve"]
    assert edges(ax) == [record["edge"]]
    (said,) = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == f"{tensor}: {record['above']} of 36 above"
    assert f"{record['above']} singular values above the edge of noise" in notes_of(ax)


def test_planted_directions_are_the_count_above_the_edge() -> None:
    draw = np.random.default_rng(3)
    W = draw.normal(size=(120, 200))
    left, right = (np.linalg.qr(draw.normal(size=(n, 5)))[0] for n in (120, 200))
    dW = 0.01 * draw.normal(size=W.shape) + left @ right.T
    diff = ftdiff.compare({"w": W}, {"w": W + dW}, ["spectral"])
    ax = plots.spectrum(diff, tensors=["w"])
    assert "5 singular values above the edge of noise" in notes_of(ax)
    drawn = lines(ax)["w"].get_ydata()
    assert (drawn > edges(ax)[0]).sum() == 5
    assert "a line through some of them" in notes_of(ax)
    assert ax.get_xscale() == "log"


def test_a_merge_into_bf16_shows_the_adapters_rank_above_its_rounding(
    saved: dict[str, Diff],
) -> None:
    ax = plots.spectrum(saved["merged"], component="mlp.up")
    assert "above the edge of noise: 4 singular values in each of 28 tensors" in notes_of(ax)
    from_factors = plots.spectrum(saved["lora"], component="mlp.up")
    assert "no bulk of noise" in notes_of(from_factors)
    assert edges(from_factors) == []


def test_a_component_over_its_layers_is_coloured_by_depth(saved: dict[str, Diff]) -> None:
    ax = plots.spectrum(saved["full"], component="attn.q")
    assert [*lines(ax)] == [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(28)]
    bar = next(other for other in ax.figure.axes if other is not ax)
    assert bar.get_ylabel() == "Layer"
    assert [t.get_text() for t in bar.get_yticklabels()][-1] == "27"
    light = [sum(one.get_color()[:3]) for one in lines(ax).values()]
    assert all(a < b for a, b in pairwise(light[::9]))
    assert ax.get_title() == "full against base · attn. q"


def test_by_default_it_is_what_moved_furthest_one_of_each_component(
    saved: dict[str, Diff],
) -> None:
    frame = saved["lora"].frame.set_index("tensor")
    drawn = [*lines(plots.spectrum(saved["lora"]))]
    assert frame.loc[drawn[0], "relative_norm"] == frame["relative_norm"].max()
    assert len({*frame.loc[drawn, "component"]}) == len(drawn) == 4


def test_names_are_found_by_their_ends_and_answered_with_near_ones(
    saved: dict[str, Diff],
) -> None:
    short = plots.spectrum(saved["full"], tensors=["3.mlp.up_proj.weight"])
    assert [*lines(short)] == ["model.layers.3.mlp.up_proj.weight"]
    with pytest.raises(BadCall, match="28 tensors end in"):
        plots.spectrum(saved["full"], tensors=["mlp.up_proj.weight"])
    with pytest.raises(UnknownName, match="did you mean"):
        plots.spectrum(saved["full"], tensors=["model.layers.3.mlp.up_prj.weight"])
    with pytest.raises(UnknownName, match=r"attn\.q"):
        plots.spectrum(saved["full"], component="attn.qq")
    with pytest.raises(BadCall, match="either"):
        plots.spectrum(saved["full"], component="attn.q", tensors=["x"])


def test_without_spectra_the_command_that_measures_them_is_said() -> None:
    with pytest.raises(BadCall, match="compare -m spectral") as refused:
        plots.spectrum(ftdiff.compare(FIXTURES / "base", FIXTURES / "lora"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("options", [{}, {"component": "mlp.up"}])
def test_a_spectrum_fits_a_narrow_column(saved: dict[str, Diff], options: Any) -> None:
    ax = plots.spectrum(saved["merged"], **options)
    ax.figure.canvas.draw()
    width, height = ax.figure.get_size_inches()
    tight = ax.figure.get_tightbbox()
    assert tight.x0 >= 0 and tight.y0 >= 0 and tight.x1 <= width and tight.y1 <= height
    shown = [*ax.get_xticklabels(), *ax.get_yticklabels()]
    assert min(t.get_fontsize() for t in shown) * 380 / (72 * width) >= 9
    bare = plots.spectrum(saved["merged"], bare=True, **options)
    assert (bare.get_legend(), bare.get_xlabel(), notes_of(bare)) == (None, "", "")
