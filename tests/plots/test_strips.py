"""Heads and rows as they are drawn, compared with the parts that were measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba

import ftdiff
from ftdiff import plots
from ftdiff.analyses import parts
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall, UnknownName
from ftdiff.plots.charts.heads import BETWEEN
from ftdiff.plots.charts.strips import TOP
from ftdiff.plots.elements import cells
from ftdiff.plots.elements.colours import MISSING
from tests.conftest import FIXTURES
from tests.plots.drawings import bar_of, diff_of, faces, marked, numbers, rows, x_texts, y_ticks


def cut(layers: int, query: int, kv: int) -> Diff:
    """A diff of heads, as `parts.heads` gives it: keys and values have no query head."""
    made = []
    for row in rows(layers, ("attn.q", "attn.k", "attn.v", "attn.o")):
        shared = row["role"] in "kv"
        for h in range(kv if shared else query):
            told = {"head": None if shared and kv < query else h}
            told["kv_head"] = h if shared else h * kv // query
            made.append({**row, **told, "delta_sq": row["delta_sq"] * (1 + h)})
    return diff_of(made)


@pytest.mark.parametrize(("layers", "query", "kv"), [(28, 12, 2), (32, 32, 8), (36, 16, 16)])
def test_heads_are_cells_side_by_side_by_projection(layers: int, query: int, kv: int) -> None:
    diff = cut(layers, query, kv)
    ax = plots.heads(diff)
    assert numbers(ax).shape == (layers, 2 * query + 2 * kv)
    assert x_texts(ax) == [f"q\n({query})", f"k\n({kv})", f"v\n({kv})", f"o\n({query})"]
    ends = np.cumsum([query, kv, kv, query])
    middles = [(a + b) / 2 for a, b in zip([0, *ends], ends, strict=False)]
    assert ax.get_xticks().tolist() == middles
    between = {float(one.get_xdata()[0]) for one in ax.get_lines() if one.get_gid() == BETWEEN}
    assert between == {*ends[:-1].tolist()}
    assert y_ticks(ax)[layers - 0.5] == str(layers - 1)
    assert bar_of(ax).ax.get_ylabel() == "‖ΔW‖/‖W‖"
    frame = diff.frame
    for j, (component, place) in enumerate(
        (c, h) for c, n in zip("qkvo", (query, kv, kv, query), strict=True) for h in range(n)
    ):
        word = "kv_head" if component in "kv" else "head"
        part = frame[(frame["component"] == f"attn.{component}") & (frame[word] == place)]
        values = part.sort_values("layer")["relative_norm"].to_numpy(float)
        assert numbers(ax)[:, j] == pytest.approx(values)


def test_real_heads_are_drawn_as_measured() -> None:
    diff = parts.heads(FIXTURES / "base", FIXTURES / "full")
    ax = plots.heads(diff, component="attn.q")
    assert x_texts(ax) == [str(h) for h in range(6)]
    assert ax.get_title() == "full against base · attn. q"
    frame = diff.frame[(diff.frame["component"] == "attn.q") & (diff.frame["param"] == "weight")]
    one = frame[(frame["layer"] == 11) & (frame["head"] == 3)]["relative_norm"].item()
    assert numbers(ax)[11, 3] == pytest.approx(one)


def test_doubtful_heads_are_hatched_and_missing_ones_blank() -> None:
    diff = cut(28, 4, 2)
    frame = diff.frame.copy()
    doubtful = (frame["layer"] == 3) & (frame["component"] == "attn.k") & (frame["kv_head"] == 1)
    frame.loc[doubtful, "ulp_sq"] = frame.loc[doubtful, "delta_sq"] * 12 / 9
    gone = (frame["layer"] == 5) & (frame["component"] == "attn.o")
    ax = plots.heads(Diff.of_frame(frame[~gone], diff.about))
    assert marked(ax, cells.FLOOR) == [(5, 3)]
    assert np.argwhere(np.isnan(numbers(ax))).tolist() == [[5, j] for j in range(8, 12)]
    assert "grey: no value" in ax.get_xlabel()


def test_diffs_without_heads_and_metrics_without_sums_are_refused() -> None:
    with pytest.raises(BadCall, match="ftdiff parts --by head"):
        plots.heads(diff_of(rows(3)))
    with pytest.raises(BadCall, match="does not come from sums"):
        plots.heads(cut(3, 2, 2), "stable_rank")
    with pytest.raises(UnknownName, match=r"attn\.q"):
        plots.heads(cut(3, 2, 2), component="attn.qq")


def lined(sizes: dict[str, int], peaks: tuple[int, ...] = (), word: str = "row") -> Diff:
    base = rows(1, ("mlp.up",))[0]
    return diff_of(
        [
            {**base, "tensor": name, word: i, "delta_sq": 1.0 + i / size + 50 * (i in peaks)}
            for name, size in sizes.items()
            for i in range(size)
        ]
    )


def strip_of(ax: Any) -> np.ndarray:
    return numbers(ax)


def test_a_row_without_a_number_hides_none_of_its_cell() -> None:
    diff = lined({"w": 4096})
    frame = diff.frame.copy()
    frame.loc[frame["row"] % 2 == 1, "delta_sq"] = None
    drawn = strip_of(plots.strips(Diff.of_frame(frame, diff.about)))
    assert np.isfinite(drawn).all()


@pytest.mark.parametrize("size", [1, 7, 240, 241, 4096, 11008])
def test_a_strip_shows_the_largest_of_the_rows_of_each_cell(size: int) -> None:
    diff = lined({"w": size}, peaks=(size // 3,))
    drawn = strip_of(plots.strips(diff))
    values = diff.frame["relative_norm"].to_numpy(float)
    bins = min(240, size)
    assert drawn.shape == (1, bins)
    of = np.arange(size) * bins // size
    assert drawn[0] == pytest.approx([values[of == k].max() for k in range(bins)])


def test_the_largest_rows_are_named_where_they_are_apart() -> None:
    ax = plots.strips(lined({"w": 4096}, peaks=(100, 105, 3000)))
    named = [text.get_text().strip("▾") for text in ax.texts if text.get_gid() == TOP]
    assert named[0] == "3000"
    assert len({"100", "105"} & {*named}) == 1  # they would be written over each other
    assert next(t.xy[0] for t in ax.texts if t.get_gid() == TOP) == pytest.approx(
        3000.5 * 240 / 4096
    )
    assert "a cell is the largest of up to 18 rows" in ax.get_xlabel()
    assert ax.get_title() == "t against b · w"


def test_tensors_of_several_lengths_are_strips_by_share() -> None:
    ax = plots.strips(lined({"a": 480, "b": 100}))
    drawn = strip_of(ax)
    assert drawn.shape == (2, 240)
    assert np.isfinite(drawn).all()
    assert (np.diff(drawn) >= 0).all()
    assert x_texts(ax) == ["0 %", "50 %", "100 %"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0 mlp. up"] * 2
    assert ax.get_ylim() == (2, 0)


def test_rows_that_did_not_move_or_have_no_number_are_blank_or_hatched() -> None:
    diff = lined({"w": 20})
    frame = diff.frame.copy()
    frame.loc[4, "delta_sq"] = None
    frame.loc[6, "ulp_sq"] = frame.loc[6, "delta_sq"] * 12 / 9
    ax = plots.strips(Diff.of_frame(frame, diff.about))
    assert np.flatnonzero(np.isnan(strip_of(ax)[0])).tolist() == [4]
    assert marked(ax, cells.FLOOR) == [(6, 0)]
    assert faces(ax)[0, 4] == pytest.approx(to_rgba(MISSING))


def test_real_rows_columns_and_tokens_are_drawn(tmp_path: Path) -> None:
    name = "layers.3.mlp.up_proj.weight"
    for measured in (parts.rows, parts.columns):
        diff = measured(FIXTURES / "base", FIXTURES / "lora", name)
        saved = Diff.load(diff.save(tmp_path / "d.json"))
        drawn = strip_of(plots.strips(saved))
        assert drawn[0] == pytest.approx(diff.frame["relative_norm"].to_numpy(float))
    tokens = parts.tokens(FIXTURES / "base", FIXTURES / "full")
    assert plots.strips(tokens).get_title() == ("full against base · model.embed_tokens.weight")


def test_tokens_over_a_strip_are_text() -> None:
    diff = lined({"w": 512}, peaks=(100, 300))
    words = ["Ġthe" if i == 100 else "cafÃ©" if i == 300 else f"x{i}" for i in range(512)]
    frame = diff.frame.assign(token=words)
    ax = plots.strips(Diff.of_frame(frame, diff.about))
    named = {text.get_text().strip("▾") for text in ax.texts if text.get_gid() == TOP}
    assert {"␣the", "café"} <= named


def test_what_has_no_rows_is_refused() -> None:
    with pytest.raises(BadCall, match="ftdiff parts --by row"):
        plots.strips(ftdiff.compare(FIXTURES / "base", FIXTURES / "lora"))
    with pytest.raises(BadCall, match="too many strips"):
        plots.strips(lined({f"w{k}": 2 for k in range(25)}))


@pytest.mark.parametrize(
    "ax_of",
    [
        lambda: plots.heads(cut(28, 32, 8)),
        lambda: plots.heads(cut(60, 64, 8)),
        lambda: plots.strips(lined({"a": 900})),
        lambda: plots.strips(lined({f"w{k}": 900 for k in range(7)})),
    ],
)
def test_parts_are_legible_in_a_narrow_column(ax_of: Any) -> None:
    ax = ax_of()
    ax.figure.canvas.draw()
    width, height = ax.figure.get_size_inches()
    tight = ax.figure.get_tightbbox()
    assert tight.x0 >= 0 and tight.y0 >= 0 and tight.x1 <= width and tight.y1 <= height
    shown = [*ax.get_xticklabels(), *ax.get_yticklabels()]
    assert min(t.get_fontsize() for t in shown) * 380 / (72 * width) >= 9
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        boxes = [t.get_window_extent() for t in labels]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
