from __future__ import annotations

import csv

import pytest
import torch

import ftdiff
from tests.analyses import planted_merges as planted
from tests.bench import merge_nulls as bench

W = planted.base()


@pytest.mark.parametrize("cosine", [0.3, 0.9])
@pytest.mark.parametrize("share", [0.2, 0.4])
def test_a_parent_that_is_missing_is_told_with_its_share(cosine: float, share: float) -> None:
    A, B, C = planted.tuned(W, 3, 2e-2, cosine)
    own = [0.6 * (1 - share), 0.4 * (1 - share), share]
    found = ftdiff.merge_of(planted.linear([A, B, C], own), [A, B], W)
    assert found.verdict == "partly"
    assert f"a parent is missing, whose share is about {share:.1f}"[:-1] in found.sentences[0]
    said = float(found.sentences[0].rsplit(" ", 1)[1])
    assert said == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("cosine", [0.3, 0.9])
@pytest.mark.parametrize("by", [0.1, 0.3])
def test_what_was_trained_on_top_leaves_the_sum_of_the_shares(cosine: float, by: float) -> None:
    A, B = planted.tuned(W, 2, 5e-3, cosine)
    mean = planted.linear([A, B], [0.6, 0.4], dtype=torch.float32)
    found = ftdiff.merge_of(planted.trained(mean, by * 5e-3), [A, B], W)
    assert found.verdict == "changed"
    assert "the shares sum to 1: it was trained on" in found.sentences[0]


def test_where_the_sum_does_not_tell_both_are_said() -> None:
    A, B = planted.tuned(W, 2, 5e-3, 0.9)
    mean = planted.linear([A, B], [0.6, 0.4], dtype=torch.float32)
    found = ftdiff.merge_of(planted.trained(mean, 0.02 * 5e-3), [A, B], W)
    assert found.verdict == "changed"
    assert "it was trained on, or a parent like these of a share of" in found.sentences[0]
    small = {name: W[name] for name in [*W][:2]}  # too few tensors to know how sums scatter
    parts = [{name: one[name] for name in small} for one in (mean, A, B)]
    found = ftdiff.merge_of(planted.trained(parts[0], 0.1 * 5e-3), parts[1:], small)
    assert "or a parent like these" in found.sentences[0]


def test_the_table_says_that_siblings_are_no_merge_and_nothing_else_is_exact() -> None:
    with bench.OUT.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == {*bench.KINDS}
    assert len(rows) == len(bench.KINDS) * len(bench.COSINES) * len(bench.SIZES)
    for row in rows:
        pairs = int(row["pairs"])
        assert pairs >= 200
        if row["model"] == "merge":
            assert int(row["exactly"]) == pairs, row
        else:
            assert int(row["exactly"]) == 0, row
        if row["model"] == "sibling":
            assert int(row["none"]) == pairs, row
        if row["model"].startswith("merge, a parent"):
            assert int(row["partly"]) >= 0.95 * pairs, row
        if row["model"].startswith("merge, trained"):
            assert int(row["changed"]) >= 0.95 * pairs, row


@pytest.mark.parametrize("kind", bench.KINDS)
def test_the_table_is_what_is_found(kind: str) -> None:
    right = {"merge": "exactly", "sibling": "none", "merge, a parent of .2 is missing": "partly"}
    assert bench.verdict(kind, 0.9, 5e-3, 3) == right.get(kind, "changed")
