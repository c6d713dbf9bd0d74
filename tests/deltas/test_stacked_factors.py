"""Products of stacked factors: what a cut into groups changes, and what is held at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ftdiff.deltas.forms import LowRank, stacked_factors
from ftdiff.deltas.forms.factor_stack import LowRanks, Stack
from ftdiff.deltas.forms.stacked_factors import all_products, products


@pytest.fixture(params=[2048, 0], ids=["narrow", "wide"], autouse=True)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """From what number of rows and columns on products are of float32."""
    monkeypatch.setattr(stacked_factors, "_WIDE", request.param)
    return int(request.param)


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


def test_products_are_those_of_changes_multiplied_out(width: int) -> None:
    made = changes(12)
    flat = np.stack([delta.dense().ravel() for delta in made])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-300
    size = np.sqrt(products(made).diagonal())
    unit = products(made) / (np.outer(size, size) + 1e-300)
    assert unit == pytest.approx(flat @ flat.T, abs=1e-12 if width else 5e-8)


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
    assert whole / size == pytest.approx(plain / size, abs=5e-8)
    monkeypatch.setattr(stacked_factors, "_STACKED", rows)
    assert np.array_equal(products(turned), whole)


@pytest.mark.parametrize("power", [-70, -20, 30, 62])
def test_what_float32_does_not_hold_is_taken_in_float64(power: int, width: int) -> None:
    """Squares of the factors are lost in float32, or infinite, though they themselves are not."""
    made = [delta for delta in changes(4, seed=4) if delta.rank]
    moved = [LowRank(d.B * np.float32(2.0**power), d.A, d.scaling) for d in made]
    assert products(moved) / 4.0**power == pytest.approx(products(made), rel=1e-7)
    mixed = [*made[:-1], moved[-1]]
    assert products(mixed)[:-1, -1] / 2.0**power == pytest.approx(products(made)[:-1, -1], rel=1e-6)
    _, careful = all_products(LowRanks(mixed))
    if not width:
        assert careful == ([] if abs(power) < 50 else [len(made) - 1])
    assert np.array_equal(products(mixed)[:-1, :-1], products(made[:-1]))


def test_only_two_groups_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked_factors, "_WIDE", 0)
    monkeypatch.setattr(stacked_factors, "_STACKED", 30)
    made = [delta for delta in changes(30, seed=3) if delta.rank]
    stacks: list[int] = []

    class Watched(LowRanks):
        def stack(self, here: Sequence[int]) -> Stack:
            found = super().stack(here)
            stacks.append(len(found.sides[0]))
            return found

    all_products(Watched(made))
    assert max(stacks) <= 30 and len(stacks) > 10


def test_a_change_whose_terms_cancel_is_taken_in_float64(width: int) -> None:
    """The same product, split otherwise between its factors: its terms are 10⁵ times as large."""
    made = [delta for delta in changes(5, seed=6) if delta.rank > 1]
    r = made[0].rank
    Q = np.linalg.qr(np.random.default_rng(7).standard_normal((r, r)))[0]
    M = Q @ np.diag(np.geomspace(1, 400, r)) @ Q[::-1]
    B, A = (made[0].B @ M).astype(np.float32), (np.linalg.inv(M) @ made[0].A).astype(np.float32)
    both = [LowRank(B, A, made[0].scaling), *made[1:]]
    flat = np.stack([delta.dense().ravel() for delta in both])
    size = np.linalg.norm(flat, axis=1)
    found, careful = all_products(LowRanks(both))
    assert found / np.outer(size, size) == pytest.approx(
        flat @ flat.T / np.outer(size, size), abs=5e-8
    )
    assert careful == ([*range(len(both))] if width else [0])
