"""Products of stacked factors: what a cut into groups changes, and what is held at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ftdiff.deltas.forms import LowRank, stacked_factors
from ftdiff.deltas.forms.stacked_factors import products


def changes(count: int, seed: int = 0, shape: tuple[int, int] = (70, 130)) -> list[LowRank]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        r = int(rng.integers(0, 20))
        B = rng.standard_normal((shape[0], r), np.float32)
        A = rng.standard_normal((r, shape[1]), np.float32)
        made.append(LowRank(B, A, float(rng.uniform(0.5, 2))))
    return made


def skewed(delta: LowRank) -> LowRank:
    """The same change, of factors that nearly cancel."""
    B = np.concatenate([delta.B, 1e4 * delta.B, -1e4 * delta.B], axis=1)
    return LowRank(B, np.concatenate([delta.A] * 3), delta.scaling)


def test_products_are_those_of_changes_multiplied_out() -> None:
    made = changes(12)
    flat = np.stack([delta.dense().ravel() for delta in made])
    assert products(made) == pytest.approx(flat @ flat.T, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("rows", [1, 25, 60])
def test_groups_change_no_bit(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = changes(12, seed=1)
    made[4].B[3, 0] = np.inf
    whole = products(made)
    monkeypatch.setattr(stacked_factors, "_STACKED", rows)
    assert np.array_equal(products(made), whole)
    assert np.array_equal(whole, whole.T) and np.isfinite(whole).all()


@pytest.mark.parametrize("rows", [1, 60])
def test_factors_that_cancel_are_made_orthogonal_in_any_group(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [delta for delta in changes(10, seed=2) if delta.rank]
    turned = [skewed(delta) if i in (1, 5) else delta for i, delta in enumerate(made)]
    plain, whole = products(made), products(turned)
    size = np.sqrt(np.outer(plain.diagonal(), plain.diagonal()))
    assert whole / size == pytest.approx(plain / size, abs=1e-9)
    monkeypatch.setattr(stacked_factors, "_STACKED", rows)
    assert np.array_equal(products(turned), whole)


def test_only_two_groups_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked_factors, "_STACKED", 30)
    made = [delta for delta in changes(30, seed=3) if delta.rank]
    stacks: list[int] = []
    whole = stacked_factors._terms

    def watched(left: Sequence[Any], right: Sequence[Any]) -> Any:
        stacks.append(sum(part.rank for part in left))
        return whole(left, right)

    monkeypatch.setattr(stacked_factors, "_terms", watched)
    products(made, [delta.rank for delta in made])
    assert max(stacks) <= 30 and len(stacks) > 10
