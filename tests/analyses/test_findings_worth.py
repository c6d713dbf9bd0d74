"""Worth against movement: said where layers differ, and not of noise, of a loss, of few layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import ftdiff
from ftdiff.comparison.result import Diff
from ftdiff.metrics import METRICS
from ftdiff.reports.summary import summary

RULES = {"loss-not-lower", "path-gap", "matters-little", "matters-much", "worth-and-movement"}


def measured(
    moved: Sequence[float],
    path: Sequence[float],
    *,
    losses: tuple[float, float] = (3.0, 2.0),
    gap: float = 0.0,
) -> Diff:
    """A diff of one matrix a layer, with shares of the change of loss."""
    rows = [
        {
            "tensor": f"layers.{i}.mlp.up_proj.weight", "stack": "", "layer": i, "block": "mlp",
            "role": "up", "component": "mlp.up", "module": "mlp.up_proj", "param": "weight",
            "status": "changed", "form": "dense", "shape": (10, 10), "numel": 100,
            "base_dtype": "F32", "tuned_dtype": "F32", "base_sq": 100.0, "tuned_sq": 100.0,
            "delta_sq": 100.0 * size**2, "inner": 100.0, "nonzero": 100,
        }
        for i, size in enumerate(moved)
    ]  # fmt: skip
    told = {
        "loss": {"base": losses[0], "tuned": losses[1]},
        "gap": gap,
        "nodes": 4,
        "text": {"file": "text.jsonl"},
    }
    diff = Diff.of_rows(rows, {"base": "b", "tuned": "t", "kind": "full", "importance": told})
    whole = losses[1] - losses[0]
    names = [row["tensor"] for row in rows]
    values = dict(zip(names, path, strict=True))
    return diff.adding(
        {"path_share": values, "path": {n: v * whole for n, v in values.items()}}, {}
    )


def said(diff: Diff) -> dict[str, ftdiff.Finding]:
    return {one.rule: one for one in ftdiff.findings(diff) if one.rule in RULES}


def test_a_summary_says_both_losses_and_what_matters() -> None:
    diff = measured([0.1, 0.1, 0.02, 0.1, 0.1], [0.0, 0.05, 0.9, 0.02, 0.03])
    line = next(line for line in summary(diff) if "loss" in line)
    assert line.startswith("On text.jsonl the loss is 3 → 2 nats a token. Layer 2 moved little")
    assert "Layers 0, 1, 3, 4 moved much and matter little" in line
    worse = " ".join(summary(measured([0.1] * 5, [0.2] * 5, losses=(2.0, 3.0))))
    assert "the loss is 2 → 3 nats a token. On text.jsonl the fine-tune loses 3" in worse


def test_layers_that_moved_and_do_not_matter_are_said_and_the_converse() -> None:
    found = said(measured([0.1, 0.1, 0.02, 0.1, 0.1], [0.0, 0.05, 0.9, 0.02, 0.03]))
    assert found["matters-little"].evidence["layers"] == [0, 1, 3, 4]
    assert found["matters-much"].evidence["layers"] == [2]
    assert found["matters-much"].message == (
        "Layer 2 moved little and matters much on text.jsonl: relative norm 0.02 (the median "
        "layer's is 0.1), and 90.0% of the gain (an even share is 20.0%)."
    )
    assert "Layers 0, 1, 3, 4 moved much and matter little" in found["matters-little"].message
    assert "path-gap" not in found and "loss-not-lower" not in found


def test_worth_that_goes_with_movement_has_no_surprise() -> None:
    found = said(measured([0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.15, 0.2, 0.25, 0.3]))
    assert {*found} == {"worth-and-movement"}
    assert found["worth-and-movement"].evidence["spearman"] == pytest.approx(1)


def test_no_surprise_in_worth_that_varies_a_little() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        shares = draw.dirichlet(np.full(12, 60.0))
        found = said(measured(0.1 * np.exp(draw.normal(0, 0.1, 12)), shares))
        assert not {"matters-little", "matters-much"} & {*found}


def test_no_layer_is_held_to_a_gain_that_is_none() -> None:
    share = [0.0, 0.05, 0.9, 0.02, 0.03]
    moved = [0.1, 0.1, 0.02, 0.1, 0.1]
    assert {*said(measured(moved, share, losses=(2.0, 2.5)))} == {"loss-not-lower"}
    assert {*said(measured(moved, share, gap=0.2))} == {"path-gap"}  # 20 % of it is not known
    assert {*said(measured(moved[:3], share[:3]))} == set()
    assert "path-gap" in said(measured(moved, share, gap=0.02))
    assert "path-gap" not in said(measured(moved, share, gap=0.009))


def test_even_movement_has_no_correlation() -> None:
    assert "worth-and-movement" not in said(measured([0.1] * 5, [0.1, 0.15, 0.2, 0.25, 0.3]))


def test_worth_is_added_up_and_never_a_mean() -> None:
    diff = measured([0.1, 0.2], [0.25, 0.75])
    assert diff.by(metrics=["path_share", "path"]).iloc[0][["path_share", "path"]].tolist() == [
        1,
        -1,
    ]
    assert all(METRICS[name].pool == "sum" for name in ("saliency", "slope", "path"))
    assert METRICS["saliency_mean"].pool == ""
