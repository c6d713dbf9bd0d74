"""Changes of parts as one change, and the same change stored otherwise, against dense arrays."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from ftdiff.deltas.factor_views import BlockDiagonal, Picked
from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.recipes import (
    Added,
    Product,
    Rebuilt,
    Recipe,
    Replaced,
    StoredDelta,
    Unreadable,
)
from ftdiff.deltas.recipes.arranged import reordered, reshaped, turned
from ftdiff.deltas.recipes.joined import Part, joined
from ftdiff.errors import BadAdapter, BadCall
from ftdiff.tensors import Array, ArrayTensor, LazyTensor, is_quantised, stored_as
from ftdiff.tensors.arranged import Hollow, Reshaped, Rows, Stack
from ftdiff.tensors.turned import Turned

COLUMNS = 1300
HEIGHTS = (260, 90, 130)  # several tiles, none of which ends with a part
RNG = np.random.default_rng(3)


def _random(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype("f4")


BASE = _random(sum(HEIGHTS), COLUMNS)


def _lazy(array: Array) -> ArrayTensor:
    return ArrayTensor(np.ascontiguousarray(array))


class _Half:
    """A rule: every row halved."""

    def make(self, base: LazyTensor) -> _Half:
        assert base.shape[1] == COLUMNS
        return self

    def rows(self, W: Array, start: int) -> Array:
        return np.asarray(-0.5 * W)


def product(rows: int, W: Array, scaling: float = 0.5) -> tuple[Recipe, Array]:
    B, A = _random(rows, 4), _random(4, COLUMNS)
    return Added(W.shape, Product(_lazy(A), _lazy(B), scaling)), scaling * B.astype("f8") @ A


def other_scale(rows: int, W: Array) -> tuple[Recipe, Array]:
    return product(rows, W, 2.0)


def stored(rows: int, W: Array) -> tuple[Recipe, Array]:
    dW = _random(rows, COLUMNS)
    return StoredDelta(_lazy(dW)), dW


def replaced(rows: int, W: Array) -> tuple[Recipe, Array]:
    tuned = _random(rows, COLUMNS)
    return Replaced(_lazy(tuned)), tuned.astype("f8") - W


def rebuilt(rows: int, W: Array) -> tuple[Recipe, Array]:
    return Rebuilt(W.shape, _Half(), "halved", "no base"), -0.5 * W.astype("f8")


def none(rows: int, W: Array) -> tuple[None, Array]:
    return None, np.zeros_like(W)


Make = Callable[[int, Array], tuple[Recipe | None, Array]]
MIXED: list[tuple[Make, Make, Make]] = [
    (product, product, product),
    (product, none, product),
    (product, other_scale, none),
    (stored, stored, stored),
    (replaced, replaced, replaced),
    (stored, none, product),
    (rebuilt, none, product),
    (replaced, rebuilt, stored),
]


def _joined(makes: tuple[Make, Make, Make]) -> tuple[Recipe, Array]:
    parts, dense, first = [], [], 0
    for make, rows in zip(makes, HEIGHTS, strict=True):
        recipe, dW = make(rows, BASE[first : first + rows])
        parts.append(Part(recipe, rows))
        dense.append(dW)
        first += rows
    return joined(parts, BASE.shape), np.concatenate(dense)


@pytest.mark.parametrize("makes", MIXED, ids=lambda makes: ", ".join(m.__name__ for m in makes))
def test_a_joined_change_is_that_of_its_parts(makes: tuple[Make, Make, Make]) -> None:
    recipe, dW = _joined(makes)
    base = _lazy(BASE)
    assert recipe.shape == BASE.shape and recipe.form
    whole = recipe.moments(base)
    assert whole.sums["delta_sq"][0] == pytest.approx(np.square(dW).sum(), rel=1e-5)
    assert whole.sums["base_sq"][0] == pytest.approx(np.square(BASE, dtype="f8").sum(), rel=1e-6)
    assert whole.sums["inner"][0] == pytest.approx((dW * BASE).sum(), rel=1e-4, abs=1.0)
    count = recipe.tiles(base)
    assert count > 1
    pieces = [recipe.moments(base, range(i, i + 1)) for i in range(count)]
    total = pieces[0]
    for piece in pieces[1:]:
        total += piece
    assert total.row() == whole.row()
    np.testing.assert_allclose(recipe.delta(base).dense(), dW, rtol=2e-4, atol=1e-4)
    read = recipe.entries(base)
    np.testing.assert_allclose(read(7, 599_999), dW.reshape(-1)[7:599_999], rtol=2e-4, atol=1e-4)


def test_products_under_one_another_are_one_product() -> None:
    recipe, dW = _joined((product, none, product))
    assert isinstance(recipe, Added) and isinstance(recipe.maker, Product)
    delta = recipe.delta(_lazy(BASE))
    assert isinstance(delta, LowRank) and delta.rank == 8
    assert delta.sumsq() == pytest.approx(np.square(dW).sum(), rel=1e-6)
    assert pickle.dumps(recipe.shape)


def test_what_cannot_be_read_of_a_part_is_the_complaint_of_the_whole() -> None:
    recipe = joined([Part(Unreadable((2, 3), "no"), 2), Part(None, 2)], (4, 3))
    assert recipe.shape == (4, 3)
    with pytest.raises(BadAdapter, match="no"):
        recipe.moments(_lazy(_random(4, 3)))


SPANS = ((5, 3), (0, 5))


@pytest.mark.parametrize("make", [product, stored, replaced])
def test_rows_are_put_in_order_in_every_form(make: Make) -> None:
    W = _random(8, COLUMNS)
    recipe, dW = make(8, W)
    assert recipe is not None
    wanted = np.concatenate([dW[5:], dW[:5]])
    base = _lazy(np.concatenate([W[5:], W[:5]]))
    np.testing.assert_allclose(reordered(recipe, SPANS).delta(base).dense(), wanted, rtol=1e-5)


@pytest.mark.parametrize("make", [product, stored, replaced])
def test_a_change_is_turned_in_every_form(make: Make) -> None:
    W = _random(8, COLUMNS)
    recipe, dW = make(8, W)
    assert recipe is not None
    found = turned(recipe)
    assert found.shape == (COLUMNS, 8)
    np.testing.assert_allclose(found.delta(_lazy(W.T)).dense(), dW.T, rtol=1e-5)


@pytest.mark.parametrize("make", [product, stored, replaced])
def test_a_kernel_of_one_is_a_matrix(make: Make) -> None:
    W = _random(8, COLUMNS)
    recipe, dW = make(8, W)
    assert recipe is not None
    found = reshaped(recipe, (8, COLUMNS, 1, 1))
    assert found.shape == (8, COLUMNS, 1, 1)
    base = _lazy(W.reshape(found.shape))
    np.testing.assert_allclose(found.delta(base).dense(), dW, rtol=1e-5)


def test_makers_of_other_forms_are_arranged_too() -> None:
    recipe, dW = _joined((product, other_scale, none))
    spans = [(100, 380), (0, 100)]
    wanted = np.concatenate([dW[100:], dW[:100]])
    found = reordered(recipe, spans).delta(None)
    np.testing.assert_allclose(found.dense(), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(turned(recipe).delta(None).dense(), dW.T, rtol=1e-5, atol=1e-5)


def test_a_change_that_needs_the_base_is_not_arranged() -> None:
    recipe, _ = rebuilt(8, _random(8, COLUMNS))
    for found in (reordered(recipe, SPANS), turned(recipe), reshaped(recipe, (8, COLUMNS, 1))):
        with pytest.raises(BadAdapter, match="stores the rows otherwise"):
            found.delta(None)


VIEWS: list[tuple[LazyTensor, Array]] = [
    (Rows(_lazy(BASE), 7, 90), BASE[7:97]),
    (Stack((_lazy(BASE[:9]), _lazy(BASE[50:60]), _lazy(BASE[3:5]))),
     np.concatenate([BASE[:9], BASE[50:60], BASE[3:5]])),
    (Turned(_lazy(BASE[:40])), BASE[:40].T),
    (Reshaped(_lazy(BASE[:4]), (4, 100, 13)), BASE[:4].reshape(4, 100, 13)),
    (Picked(_lazy(BASE), ((8, 2), (0, 3))), np.concatenate([BASE[8:10], BASE[:3]])),
    (BlockDiagonal((_lazy(BASE[:2, :2]), 1, _lazy(BASE[:1, :3]))),
     np.block([[BASE[:2, :2], np.zeros((2, 3))], [np.zeros((1, 5))],
               [np.zeros((1, 2)), BASE[:1, :3]]])),
    (Stack((_lazy(BASE[:3, 0]), _lazy(BASE[5:9, 1]))), np.concatenate([BASE[:3, 0], BASE[5:9, 1]])),
]  # fmt: skip


@pytest.mark.parametrize(("view", "wanted"), VIEWS, ids=lambda one: type(one).__name__)
def test_a_view_is_what_it_shows(view: LazyTensor, wanted: Array) -> None:
    assert view.shape == wanted.shape and view.dtype == "F32"
    np.testing.assert_array_equal(view.read(), wanted)
    np.testing.assert_array_equal(view.read(slice(1, 3)), wanted[1:3])
    size = wanted.size
    for start, stop in ((0, size), (1, size - 1), (size // 2, size // 2 + 2), (3, 3)):
        with view.window(start, stop) as lent:
            np.testing.assert_array_equal(lent, wanted.reshape(-1)[start:stop])
    assert stored_as(view) == "F32" and not is_quantised(view)
    assert hash(view) == hash(view)


def test_a_shape_alone_has_no_values() -> None:
    with pytest.raises(BadCall):
        Hollow((2, 3)).read()
    with pytest.raises(BadCall):
        Hollow((2, 3)).window(0, 1)
