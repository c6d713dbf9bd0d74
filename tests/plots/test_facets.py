"""Several maps on one scale, outlines of findings, and several fine-tunes in one pass."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from matplotlib.collections import QuadMesh

import ftdiff
from ftdiff import plots
from ftdiff.analyses.finding import Finding
from ftdiff.cli import ftdiff as door
from ftdiff.cli.compare_facets import names
from ftdiff.comparison import batch as siblings
from ftdiff.comparison import few_bits
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall, BadFile, FtdiffError, Mismatch
from ftdiff.plots.elements import cells
from ftdiff.tensors import FileTensor
from tests.conftest import FIXTURES
from tests.plots.drawings import bar_of, diff_of, faces, numbers, rows, x_texts, y_ticks

BASE, FULL, LORA, MERGED = (str(FIXTURES / name) for name in ("base", "full", "lora", "merged"))


def _run(*args: object) -> Result:
    return CliRunner().invoke(door, [str(arg) for arg in args])


def moving(factor: float, layers: int = 28) -> Diff:
    return diff_of(rows(layers, move=lambda layer, j: factor * (0.01 + 0.001 * layer + 0.0001 * j)))


def cell_axes(figure: Any) -> list[Any]:
    """The maps of a figure, without its colour bars."""
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def bar_axes(figure: Any) -> list[Any]:
    return [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]


def test_a_map_is_not_drawn_again_for_each_that_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draw = QuadMesh.draw

    @wraps(draw)
    def counted(mesh: QuadMesh, renderer: Any) -> None:
        drawn.append(id(mesh))
        draw(mesh, renderer)

    monkeypatch.setattr(QuadMesh, "draw", counted)

    def draws(make: Callable[[int], Any], maps: int) -> int:
        drawn.clear()
        figure = make(maps)
        assert all(ax.get_visible() for ax in figure.axes)
        return len(drawn)

    def of_fine_tunes(maps: int) -> Any:
        return plots.facets([moving(k, 4) for k in range(1, maps + 1)])

    def of_stacks(maps: int) -> Any:
        return plots.towers(diff_of([row for k in range(maps) for row in rows(4, stack=f"{k}")]))

    for make in (of_fine_tunes, of_stacks):
        assert draws(make, 6) == 2 * draws(make, 3)


# one scale


@pytest.mark.parametrize("style", ["modules", "heads"])
def test_limits_are_what_all_of_the_data_span(style: str) -> None:
    if style == "heads":
        diffs = [
            diff_of([{**row, "head": 0, "kv_head": 0, "delta_sq": k * (1 + row["layer"])}
                     for row in rows(12, ("attn.q",))])
            for k in (1.0, 9.0)
        ]  # fmt: skip
    else:
        diffs = [moving(1), moving(3)]
    limits = plots.limits(diffs, style=style)
    data = np.concatenate([numbers(plots.draw(diff, style=style)).ravel() for diff in diffs])
    assert limits == pytest.approx(
        {"vmin": data.min(), "vmax": data.max(), "center": (data.min() + data.max()) / 2}
    )


def test_one_number_has_one_colour_in_every_figure_of_a_scale() -> None:
    diffs = [moving(1), moving(3)]
    limits = plots.limits(diffs)
    small, large = (plots.heatmap(diff, **limits) for diff in diffs)
    a, b = numbers(small), numbers(large)
    for value in (0.03, 0.035):
        here, there = (np.unravel_index(np.abs(one - value).argmin(), one.shape) for one in (a, b))
        assert faces(small)[here] == pytest.approx(faces(large)[there], abs=0.02)
    assert bar_of(small).get_ticks().tolist() == bar_of(large).get_ticks().tolist()


def test_limits_follow_normalisation_centre_and_style() -> None:
    diffs = [moving(1), moving(3)]
    by_component = plots.limits(diffs, normalise="component")
    assert by_component["center"] == 1.0
    assert plots.limits(diffs, center=0.02)["center"] == 0.02
    raw = plots.limits(diffs, style="importance")
    assert raw == pytest.approx({"vmax": 3 * (0.01 + 0.027 + 0.0006)})
    ax = plots.heatmap(diffs[0], style="importance", **raw)
    assert numbers(ax).max() == pytest.approx(1 / 3)
    assert bar_of(ax).ax.get_ylabel() == "‖ΔW‖/‖W‖ ÷ 0.113"
    matrix = pd.DataFrame({"a": [-0.3, 0.2]}), pd.DataFrame({"a": [0.1, 0.5]})
    assert plots.limits(matrix, "x", style="tokens", difference=True) == {"vmax": 0.5}
    assert plots.limits(matrix, "x", style="tokens") == {"vmin": 0.5, "vmax": 1.0}
    with pytest.raises(BadCall, match="no scale of colours"):
        plots.limits(diffs, style="scatter")
    with pytest.raises(BadCall, match="at least one"):
        plots.limits([])
    with pytest.raises(BadCall, match="vmax"):
        plots.heatmap(diffs[0], style="importance", normalise="rank", vmax=1.0)


@pytest.mark.parametrize("layers", [28, 32, 36, 60])
def test_facets_share_one_bar_that_spans_them_all(layers: int) -> None:
    diffs = [moving(k, layers) for k in (1, 2, 3)]
    figure = plots.facets(diffs, titles=["one", "two", "three"])
    maps = cell_axes(figure)
    assert [ax.get_title() for ax in maps] == ["one", "two", "three"]
    for ax, diff in zip(maps, diffs, strict=True):
        assert numbers(ax) == pytest.approx(diff.table().to_numpy())
        assert len(x_texts(ax)) == 7
    (bar,) = bar_axes(figure)
    low, high = diffs[0].table().to_numpy().min(), diffs[2].table().to_numpy().max()
    assert bar.get_ylim() == pytest.approx((low, high))
    assert bar.get_ylabel() == "‖ΔW‖/‖W‖"
    assert "one scale for all" in figure.get_supxlabel()
    share = (numbers(maps[1]) - low) / (high - low)
    scale = plots.heatmap(diffs[1], vmin=low, vmax=high)
    assert faces(maps[1]) == pytest.approx(faces(scale), abs=0.02)
    assert share.max() < 0.7
    assert y_ticks(maps[0])[layers - 0.5] == str(layers - 1)
    assert {*y_ticks(maps[1]).values()} == {""}
    assert [ax.get_ylabel() for ax in maps] == ["Layer", "", ""]


def test_facets_of_their_own_scales_have_a_bar_each() -> None:
    diffs = [moving(k) for k in (1, 2, 3)]
    figure = plots.facets(diffs, shared=False)
    bars = bar_axes(figure)
    assert len(bars) == 3
    for bar, diff in zip(bars, diffs, strict=True):
        data = diff.table().to_numpy()
        assert bar.get_ylim() == pytest.approx((data.min(), data.max()))
    assert "each map has its own scale" in figure.get_supxlabel()


@pytest.mark.parametrize(
    ("count", "shared", "shape"),
    [(1, True, (1, 1)), (2, True, (1, 2)), (3, True, (1, 3)), (4, True, (2, 2)), (5, True, (2, 3)),
     (7, True, (3, 3)), (3, False, (2, 2))],
)  # fmt: skip
def test_facets_stand_in_rows_that_stay_legible(
    count: int, shared: bool, shape: tuple[int, int]
) -> None:
    figure = plots.facets([moving(1 + k) for k in range(count)], shared=shared)
    maps = cell_axes(figure)
    assert len(maps) == count
    grid = maps[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == shape
    figure.canvas.draw()
    width, height = figure.get_size_inches()
    tight = figure.get_tightbbox()
    assert tight.x0 >= 0 and tight.y0 >= 0 and tight.x1 <= width and tight.y1 <= height
    for ax in maps:
        assert len(x_texts(ax)) == 7  # no component is left without its name
        boxes = [t.get_window_extent() for t in ax.get_xticklabels() if t.get_rotation() == 90]
        assert all(not a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        sizes = {t.get_fontsize() for t in ax.get_xticklabels()}
        assert min(sizes) * 380 / (72 * width) >= 8.5


def test_what_all_maps_say_is_said_once_and_the_rest_below_each() -> None:
    doubtful = diff_of([{**row, "ulp_sq": row["delta_sq"] * 12 / 9} for row in rows(12)])
    figure = plots.facets([doubtful, moving(1, 12)])
    first, second = cell_axes(figure)
    assert "hatched" in first.get_xlabel() and "hatched" not in second.get_xlabel()
    both = plots.facets([doubtful, doubtful])
    assert [ax.get_xlabel() for ax in cell_axes(both)] == ["", ""]
    assert "hatched" in both.get_supxlabel()
    bare = plots.facets([doubtful, doubtful], bare=True)
    assert bare.get_supxlabel() == ""


def test_facets_are_named_by_what_was_tuned_and_counted_else() -> None:
    diff = Diff.of_rows(rows(4), {"base": "b", "tuned": "runs/a\x1b/last-" + "x" * 99})
    figure = plots.facets([diff, pd.DataFrame({"attn.q": [0.01, 0.02]})])
    titles = [ax.get_title() for ax in cell_axes(figure)]
    assert titles[0].startswith("last-xx") and len(titles[0]) < 40
    assert titles[1] == "2"
    with pytest.raises(BadCall, match="1 titles for 2 maps"):
        plots.facets([diff, diff], titles=["a"])


# outlines


def boxes(ax: Any) -> list[tuple[float, float, float, float]]:
    found = [patch for patch in ax.patches if patch.get_gid() == cells.OUTLINE]
    return [(*box.get_xy(), box.get_width(), box.get_height()) for box in found]


def finding(*spoken: tuple[Any, str], **evidence: Any) -> Finding:
    return Finding("contrast", "note", "…", evidence, spoken)


def test_a_findings_cells_are_framed_as_blocks() -> None:
    diff = moving(1)
    column = finding(*((layer, "attn.k") for layer in range(28)))
    group = finding(*((layer, c) for layer in range(5, 9) for c in ("mlp.up", "mlp.down")))
    lone = finding((3, "attn.q"), (4, "attn.k"))
    ax = plots.heatmap(diff, outline=[column, group, lone, column])
    assert boxes(ax) == [(1, 0, 1, 28), (4, 5, 2, 4), (0, 3, 1, 1), (1, 4, 1, 1)]
    mixed = plots.heatmap(diff, outline=[lone, (20, "mlp.gate")])
    assert boxes(mixed) == [(0, 3, 1, 1), (1, 4, 1, 1), (6, 20, 1, 1)]


def test_cells_of_findings_that_are_not_on_the_map_are_left_out() -> None:
    diff = moving(1)
    beyond = finding((99, "attn.q"), (3, "norm.input"), (3, "attn.v"))
    assert boxes(plots.heatmap(diff, outline=[beyond])) == [(2, 3, 1, 1)]
    everything = finding(*((i, c) for i in range(28) for c in diff.table().columns))
    assert boxes(plots.heatmap(diff, outline=[everything])) == []
    with pytest.raises(BadCall, match="no cell at layer 99"):
        plots.heatmap(diff, outline=[(99, "attn.q")])


def test_findings_of_another_stack_are_not_drawn() -> None:
    diff = diff_of(rows(6, stack="encoder"), rows(6, stack="decoder"))
    found = [finding((2, "attn.q"), stack="encoder"), finding((3, "attn.k"), stack="decoder")]
    assert boxes(plots.heatmap(diff, stack="encoder", outline=found)) == [(0, 2, 1, 1)]
    assert boxes(plots.heatmap(diff, stack="decoder", outline=found)) == [(1, 3, 1, 1)]


def test_real_findings_are_framed_in_diffs_and_in_matrices() -> None:
    diff = ftdiff.compare(BASE, LORA)
    for data in (diff, diff.table().rename(columns=lambda name: name.replace(".", ". "))):
        found = ftdiff.findings(data)
        spoken = {cell for one in found for cell in one.cells}
        drawn = boxes(plots.heatmap(data, outline=found))
        covered = {
            (layer, ("attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down", "mlp.gate")[j])
            for x, y, width, height in drawn
            for j in range(int(x), int(x + width))
            for layer in range(int(y), int(y + height))
        }
        assert covered == {(layer, name.replace(". ", ".")) for layer, name in spoken}
        assert covered


# one pass


def same(a: Diff, b: Diff) -> None:
    pd.testing.assert_frame_equal(a.frame, b.frame)
    when = {"created"}
    assert {k: v for k, v in a.about.items() if k not in when} == {
        k: v for k, v in b.about.items() if k not in when
    }


def test_siblings_are_compared_as_each_alone_is_to_the_bit() -> None:
    tuned = [FULL, LORA, MERGED]
    found = siblings.compare_each(BASE, tuned)
    for one, path in zip(found, tuned, strict=True):
        assert isinstance(one, Diff)
        same(one, ftdiff.compare(BASE, path))
    with ThreadPoolExecutor(3) as executor:
        for one, other in zip(
            siblings.compare_each(BASE, tuned, ["stable_rank"], executor), tuned, strict=True
        ):
            assert isinstance(one, Diff)
            same(one, ftdiff.compare(BASE, other, ["stable_rank"]))


def test_the_bases_file_is_passed_over_once_whatever_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, int]] = []
    window = FileTensor.window

    @contextmanager
    def watched(self: FileTensor, start: int, stop: int) -> Iterator[Any]:
        if stop - start > 1000:  # not the few rows by which files are told apart at first
            seen.append((self.path, self.offset + start))
        with window(self, start, stop) as lent:
            yield lent

    monkeypatch.setattr(FileTensor, "window", watched)
    monkeypatch.setattr(siblings, "surveyed", lambda diff, *_: diff)  # a few rows more
    monkeypatch.setattr(few_bits, "on_grids", lambda *_: {})  # a few values more
    with ThreadPoolExecutor(1) as executor:
        siblings.compare_each(BASE, [FULL, MERGED, FULL], executor=executor)
    base = [at for path, at in seen if Path(path).parent.name == "base"]
    assert base == sorted(base)
    assert len(base) > 2 * len({*base})  # each part is shared, not read by itself


def test_one_that_fails_costs_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"\x09")
    found = siblings.compare_each(BASE, ["nowhere", FULL, tmp_path / "broken.safetensors"])
    assert [type(one) for one in found] == [BadFile, Diff, BadFile]
    other = siblings.compare_each({"x": np.ones((2, 2))}, [FULL, {"x": np.zeros((2, 2))}])
    assert [type(one) for one in other] == [Mismatch, Diff]
    assert isinstance(other[0], FtdiffError)
    with pytest.raises(BadFile, match="nowhere"):
        siblings.compare_each("nowhere", [FULL])


# the shell


def test_facets_are_written_with_a_diff_for_each_and_a_row_for_each(tmp_path: Path) -> None:
    done = _run("compare", BASE, FULL, LORA, MERGED, "--facet", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    written = {path.name for path in tmp_path.iterdir()}
    diffs = {"diff-full.json", "diff-lora.json", "diff-merged.json"}
    assert written == {"facets.png", "facets.svg", "journal.sqlite", *diffs}
    same(Diff.load(tmp_path / "diff-lora.json"), ftdiff.compare(BASE, LORA))
    lines = done.stdout.splitlines()
    assert lines[0] == f"{BASE} → 3 fine-tunes"
    for name in ("full", "lora", "merged"):
        (row,) = [line for line in lines if line.startswith(f"{name} ")]
        overall = Diff.load(tmp_path / f"diff-{name}.json").whole("moved")
        assert f"{overall['relative_norm']:.4g}" in row
    own = _run("compare", BASE, FULL, LORA, "--facet", "--own-scale", "-o", tmp_path / "own")
    assert own.exit_code == 0
    text = (tmp_path / "own" / "facets.svg").read_text()
    assert text != (tmp_path / "facets.svg").read_text()


def test_in_the_shell_one_that_fails_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    done = _run("compare", BASE, "nowhere", FULL, "--facet", "-o", tmp_path)
    assert done.exit_code == 2
    assert "ftdiff: nowhere: no such file or folder; the others are kept" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        *("diff-full.json", "facets.png", "facets.svg", "journal.sqlite")
    }
    assert "full" in done.stdout
    none = _run("compare", BASE, "nowhere", "nowhere-2", "--facet", "-o", tmp_path / "none")
    assert (none.exit_code, none.stdout) == (2, "")
    assert len(none.stderr.splitlines()) == 2
    assert not (tmp_path / "none").exists()
    covered = _run("compare", BASE, FULL, LORA, "--facet", "--min-coverage", "1")
    assert covered.exit_code == 0


def test_a_low_coverage_of_one_exits_with_one(tmp_path: Path) -> None:
    base = {f"layers.{i}.mlp.up_proj.weight": np.eye(4) * (i + 1) for i in range(3)}
    from safetensors.numpy import save_file

    save_file(base, tmp_path / "b.safetensors")
    save_file({n: 2 * W for n, W in base.items()}, tmp_path / "whole.safetensors")
    part = dict(list(base.items())[:1])
    save_file({n: 2 * W for n, W in part.items()}, tmp_path / "part.safetensors")
    paths = [tmp_path / f"{name}.safetensors" for name in ("b", "whole", "part")]
    done = _run("compare", *paths, "--facet", "--min-coverage", "0.99")
    assert done.exit_code == 1
    assert "part: 33.3% of the parameters were compared" in done.stderr


def test_the_whole_is_printed_as_json_or_csv() -> None:
    listed = json.loads(_run("compare", BASE, FULL, LORA, "--facet", "--format", "json").stdout)
    assert [one["about"]["tuned"] for one in listed] == [FULL, LORA]
    text = _run("compare", BASE, FULL, LORA, "--facet", "--format", "csv").stdout
    table = list(csv.DictReader(io.StringIO(text)))
    assert next(iter(table[0])) == "tuned"
    assert {row["tuned"] for row in table} == {"full", "lora"}
    assert len(table) == 2 * len(listed[0]["tensors"])


def test_several_without_facet_and_own_scale_without_it_are_told() -> None:
    for args in ((BASE, FULL, LORA), (BASE, FULL, "--own-scale")):
        done = _run("compare", *args)
        assert isinstance(done.exception, BadCall)
        assert "only with --facet" in str(done.exception)


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["a/x", "b/x"], ["a-x", "b-x"]),
        (["x", "x", "x"], ["x", "x-2", "x-3"]),
        (["../x/", "x.safetensors"], ["tuned-x", "x"]),
        (["/", "..", "a b/ü\n"], ["tuned", "tuned-2", "ü"]),
        (["runs/1/last", "runs/2/last", "runs/2/first"], ["1-last", "2-last", "first"]),
    ],
)
def test_names_are_all_different_and_fit_in_a_file_name(paths: list[str], said: list[str]) -> None:
    found = names(paths)
    assert len({*found}) == len(paths)
    assert found == said
