"""Pictures of nested lists: a row for each layer and sublayer, called as the names call it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ftdiff import plots
from ftdiff.analyses.finding import Finding
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall
from ftdiff.plots.elements.cells import OUTLINE
from ftdiff.reports.html import render
from ftdiff.reports.maps import maps
from ftdiff.reports.page_marks import marked
from tests.plots.drawings import diff_of, numbers, rows

NAMES = ["up 0.0", "up 0.1", "up 0.2", "up 1.0", "up 1.1", "up 1.2"]


def nested(stack: str = "up_blocks") -> Diff:
    """Two layers of three sublayers; the ratios are 0.01 more in each."""
    made = []
    for inner in range(3):
        for row in rows(2, ("attn.q", "attn.o"), stack, sublayer=f"{inner}"):
            name = row["tensor"].replace(".layers.", f".{inner}.layers.")
            size = 0.01 * (3 * row["layer"] + inner + 1)
            made.append({**row, "tensor": name, "delta_sq": 100 * size**2})
    return diff_of(made)


def rows_said(ax: Any) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def test_a_heatmap_names_stack_layer_and_sublayer() -> None:
    ax = plots.heatmap(nested())
    assert rows_said(ax) == NAMES
    np.testing.assert_allclose(numbers(ax)[:, 0], 0.01 * np.arange(1, 7))
    assert rows_said(plots.heatmap(nested("decoder"))) == [name[3:] for name in NAMES]
    assert numbers(plots.heatmap(nested(), style="importance", normalise="none")).shape == (6, 2)


def test_a_profile_has_a_point_for_each_sublayer() -> None:
    for by in ("component", "block", "layer"):
        ax = plots.profile(nested(), by=by)
        np.testing.assert_allclose(ax.lines[0].get_ydata(), 0.01 * np.arange(1, 7))
        assert [label.get_text() for label in ax.get_xticklabels()] == NAMES


def test_a_layer_is_outlined_by_the_name_of_a_row_or_by_its_number() -> None:
    def frames(*outline: Any) -> list[tuple[float, float]]:
        ax = plots.heatmap(nested(), outline=outline)
        return [p.get_xy() for p in ax.patches if p.get_gid() == OUTLINE]

    assert frames(("up 1.1", "attn.q")) == [(0, 4)]
    assert frames((1, "attn.q")) == [(0, 3), (0, 4), (0, 5)]
    spoken = Finding("x", "note", "x", {"stack": "up_blocks"}, ((1, "attn.o"),))
    assert frames(spoken) == [(1, 3)]
    with pytest.raises(BadCall, match="no cell at layer 2"):
        frames((2, "attn.q"))


def test_a_report_marks_every_sublayer_of_a_layer_that_a_finding_is_of() -> None:
    (one,) = maps(nested(), ("relative_norm",))
    assert [*one.layers] == NAMES and one.numbers == (0, 0, 0, 1, 1, 1)
    spoken = Finding("x", "note", "x", {"stack": "up_blocks"}, ((1, "attn.o"),))
    assert marked([spoken], [one])[0][1] == "0:7 0:9 0:11"
    page = render(nested(), "relative_norm")
    assert '"layers":["up 0.0"' in page and '"rows":["up 0.0"' in page
    assert '"rows":[' not in render(diff_of(rows(2)), "relative_norm")
