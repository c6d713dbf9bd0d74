"""One extraction of layers × components, and one threshold, for findings, plots and reports."""

from __future__ import annotations

import ast

import numpy as np
import pandas as pd
import pytest

import ftdiff
from ftdiff.analyses.findings import findings
from ftdiff.comparison.cells import cells
from ftdiff.comparison.grid import grids
from ftdiff.metrics import TRUSTED_SNR, faint
from ftdiff.naming import component_order
from ftdiff.plots.heatmaps.matrix import matrix_of
from ftdiff.reports.maps import maps
from tests.analyses.test_findings import diff_of, noise
from tests.conftest import FIXTURES
from tests.test_structure import FILES

FLOOR = 0.001


@pytest.fixture(scope="module")
def diff() -> ftdiff.Diff:
    """A full fine-tune with a cell barely under the threshold, one barely above, and one half."""
    X = noise()
    for layer, snr in ((3, 0.99 * TRUSTED_SNR), (4, 1.01 * TRUSTED_SNR), (5, 5.0)):
        X.loc[layer, "attn.k"] = FLOOR * np.sqrt(snr)
    return diff_of(X, floor=FLOOR)


FAINT = {(3, "attn.k"), (5, "attn.k")}


def _places(table: pd.DataFrame) -> set[tuple[int, str]]:
    return {(table.index[i], table.columns[j]) for i, j in np.argwhere(table.to_numpy())}


def test_what_a_picture_doubts_is_what_findings_leave_out_and_speak_of(diff: ftdiff.Diff) -> None:
    (one,) = cells(diff, ("relative_norm",))
    (grid,) = grids(diff)
    (map_,) = maps(diff, ("relative_norm",))
    doubted = pd.DataFrame(map_.doubtful, map_.layers, map_.components)
    told = [f for f in findings(diff) if f.rule in ("precision-control", "left-out")]
    assert _places(one.doubtful) == _places(one.rounded) == {*grid.drowned} == FAINT
    assert _places(matrix_of(diff, "relative_norm").doubtful) == _places(doubted) == FAINT
    assert [{*f.cells} for f in told] == [FAINT, FAINT]
    assert all(f.evidence["snr"] == TRUSTED_SNR for f in told)
    assert grid.values.isna().sum().sum() == 2 and np.isfinite(grid.values.loc[4, "attn.k"])


def test_an_unmerged_adapter_was_not_rounded_and_is_looked_for_patterns(diff: ftdiff.Diff) -> None:
    frame = diff.frame.assign(tuned_dtype=pd.array([None] * len(diff.frame), "string"))
    adapter = ftdiff.Diff(frame, {**diff.about, "kind": "lora"})
    (one,) = cells(adapter, ("relative_norm",))
    assert _places(one.doubtful) == FAINT and not _places(one.rounded)
    assert not grids(adapter)[0].drowned


def test_findings_plots_and_reports_have_the_same_cells() -> None:
    diff = ftdiff.compare(FIXTURES / "base", FIXTURES / "full")
    (grid,), matrix, (map_,) = grids(diff), matrix_of(diff, "relative_norm"), maps(diff, ("lift",))
    assert [*grid.values] == [*map_.components] == component_order(map_.components)
    assert tuple(grid.values.index) == map_.layers == tuple(matrix.values.index)
    assert grid.values.equals(matrix.values.loc[[*map_.layers], [*map_.components]])


def test_the_stack_that_moved_most_is_first_and_layers_ascend() -> None:
    few, many = noise(layers=3), noise(layers=12)
    frames = [
        diff_of(X).frame.assign(stack=name) for X, name in ((few, "vision"), (many, "decoder"))
    ]
    both = ftdiff.Diff.of_frame(pd.concat(frames, ignore_index=True)[::-1], diff_of(few).about)
    found = cells(both, ("relative_norm",))
    assert [one.stack for one in found] == ["decoder", "vision"]
    drawn = maps(both, ("relative_norm",))  # pictures have the model's own order
    assert [one.stack for one in drawn] == ["vision", "decoder"]
    assert matrix_of(both, "relative_norm").stack == "decoder"
    assert [one.layers for one in found] == [tuple(range(12)), tuple(range(3))]


def test_an_exact_zero_is_not_doubted() -> None:
    assert faint(np.array([0.0, 1e-9, 9.99, 10.0, np.inf, np.nan])).tolist() == [
        *(False, True, True, False, False, False)
    ]


def test_no_module_has_a_threshold_of_its_own() -> None:
    """A comparison of snr with a number stands beside the metric alone."""
    for path in FILES:
        if path.name == "floor.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and "snr" in ast.unparse(node.left).lower():
                assert not any(isinstance(one, ast.Constant) for one in node.comparators), path
