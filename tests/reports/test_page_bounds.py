"""A page of very many tensors stays a page, and says what it leaves out."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

import ftdiff
from ftdiff.analyses.findings import findings
from ftdiff.comparison.frame import of_rows
from ftdiff.comparison.grid import DEEPEST, WIDEST
from ftdiff.reports import html, page_bounds
from ftdiff.reports.document import document

LAYERS = 600


@pytest.fixture(scope="module")
def deep() -> ftdiff.Diff:
    """A diff of more layers than a page shows."""
    rows = []
    for i in range(LAYERS):
        for role in ("q", "k"):
            name = f"model.layers.{i}.self_attn.{role}_proj.weight"
            place = {"stack": "", "layer": i, "block": "attn", "role": role, "param": "weight"}
            sums = {"base_sq": 4.0, "tuned_sq": 4.0, "delta_sq": 1e-4 * (1 + i), "inner": 0.0}
            facts = {"component": f"attn.{role}", "module": f"{role}_proj", "status": "changed"}
            rows.append(
                {
                    "tensor": name,
                    "shape": (2, 2),
                    "numel": 4,
                    "unequal": 4,
                    **place,
                    **facts,
                    **sums,
                }
            )
    about = {"base": "a", "tuned": "b", "kind": "full", "coverage": 1.0}
    return ftdiff.Diff.of_columns(of_rows(rows), about)


def test_a_page_lists_what_moved_most_and_says_what_it_leaves_out(
    deep: ftdiff.Diff, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_bounds, "MOST_TENSORS", 100)
    page = html.render(deep)
    told = "This page lists the 100 of 1,200 tensors with the largest ‖ΔW‖/‖W‖ and the first 512"
    assert f"{told} of 600 layers that moved; the saved diff has all." in page
    assert "of 1,200 tensors" in page and "with scripts allowed, 100 of them." in page
    island = re.search(r'id="ftdiff-data">(.*?)</script>', page)
    assert island is not None
    names = json.loads(island[1])["table"]["columns"][0]["texts"]
    assert names == deep.columns["tensor"][-100:].tolist()


def test_a_page_that_has_all_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = of_rows([{"tensor": "a", "status": "changed", "shape": (2, 2)}])
    diff = ftdiff.Diff.of_columns(columns, {"base": "a", "tuned": "b", "kind": "full"})
    report = document(diff)
    assert page_bounds.bounded(diff, report, "relative_norm") == (diff, report)


def test_patterns_are_not_looked_for_among_more_layers_than_they_can_be(deep: ftdiff.Diff) -> None:
    found = findings(deep)
    (told,) = (one.message for one in found if one.rule == "left-out")
    most = f"are more than the {DEEPEST} among which patterns are looked for: none was."
    assert told == f"{LAYERS} layers {most}"
    assert {one.rule for one in found}.isdisjoint({"depth-peak", "outlier-layer", "uniform"})


def test_nor_among_more_components() -> None:
    cells = np.random.default_rng(0).uniform(1, 2, (6, WIDEST + 1))
    wide = pd.DataFrame(cells, columns=[f"c{i}" for i in range(WIDEST + 1)])
    told = [one.message for one in findings(wide) if one.rule == "left-out"]
    assert told == [
        f"{WIDEST + 1} components are more than the {WIDEST} among which patterns are looked for: "
        "none was."
    ]
    assert len(findings(wide.iloc[:, :WIDEST])) > 1
