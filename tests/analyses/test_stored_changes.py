"""Stored changes multiplied from their bytes, held against NumPy in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from ftdiff.analyses.pairwise import Asked, Line, measure, stored_changes
from ftdiff.analyses.pairwise.base_sums import base_sums
from ftdiff.analyses.pairwise.stored_changes import Products, from_stored
from ftdiff.deltas.recipes import Recipe, Replaced, StoredDelta
from ftdiff.errors import BadFile
from ftdiff.kernels import ROW
from ftdiff.naming import locate
from ftdiff.tensors import DTYPES, Array, ArrayTensor

SIZE = 2 * ROW + 1000


def line(base: Array | None, tuned: Sequence[Recipe | None]) -> Line:
    address = locate(["layers.0.mlp.up_proj.weight"])["layers.0.mlp.up_proj.weight"]
    shape = next(one.shape for one in tuned if one is not None)
    return Line(address, None if base is None else ArrayTensor(base), shape, tuple(tuned))


def model(n: int, code: str = "BF16", size: int = SIZE, by: float = 1e-3) -> tuple[Array, Any]:
    rng = np.random.default_rng(n)
    W = (0.02 * rng.standard_normal(size, np.float32)).astype(DTYPES[code])
    shared = rng.standard_normal(size, np.float32)
    tuned = []
    for _ in range(n):
        D = shared + rng.standard_normal(size, np.float32)
        tuned.append((W.astype(np.float32) + np.float32(by) * D).astype(DTYPES[code]))
    return W, tuned


def replaced(tuned: Sequence[Array]) -> list[Recipe | None]:
    return [Replaced(ArrayTensor(one)) for one in tuned]


def products(W: Array | None, tuned: Sequence[Recipe | None], base: bool = True) -> Products:
    found = from_stored(line(W, tuned), base)
    assert found is not None
    return found


def exact(W: Array, tuned: Sequence[Array]) -> Array:
    with np.errstate(invalid="ignore"):
        D = np.stack([one.astype(np.float64) - W.astype(np.float64) for one in tuned])
    D[~np.isfinite(D)] = 0
    return D @ D.T


def cosines(G: Array) -> Array:
    size = np.sqrt(G.diagonal())
    return np.asarray(G / np.outer(size, size))


@pytest.mark.parametrize(("n", "code"), [(2, "F32"), (5, "BF16"), (5, "F16"), (20, "BF16")])
def test_products_of_stored_changes_are_numpys(n: int, code: str) -> None:
    W, tuned = model(n, code)
    found, want = products(W, replaced(tuned)), exact(W, tuned)
    within = 1e-9 if code == "F32" else 1e-13  # differences are rounded to float32
    assert np.abs(cosines(found.inner) - cosines(want)).max() < within
    assert found.inner.diagonal() == pytest.approx(want.diagonal(), rel=within)
    assert (found.base_sq, found.power_sq) == base_sums(ArrayTensor(W), W.size)
    assert not found.nonfinite.any()


def test_no_bit_depends_on_how_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    W, tuned = model(6)
    tuned[3][ROW + 5] = np.nan
    whole = products(W, replaced(tuned))
    monkeypatch.setattr(stored_changes, "_LENT", 1)
    monkeypatch.setattr(stored_changes, "_TERMS", 1)
    apart = products(W, replaced(tuned))
    assert np.array_equal(whole.inner, apart.inner)
    assert whole.base_sq == apart.base_sq
    assert np.array_equal(whole.nonfinite, apart.nonfinite)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_counts_as_unchanged_and_is_counted(value: float) -> None:
    W, tuned = model(3)
    tuned[1][[0, ROW + 7, SIZE - 1]] = value
    found = products(W, replaced(tuned))
    assert found.nonfinite.tolist() == [0, 3, 0]
    assert found.inner == pytest.approx(exact(W, tuned), rel=1e-12)
    W[5] = value
    found = products(W, replaced(tuned))
    assert found.nonfinite.tolist() == [1, 4, 1]
    assert found.inner == pytest.approx(exact(W, tuned), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-41, 1e-30, 1e-15, 1e15, 1e30])
def test_squares_neither_vanish_nor_overflow(scale: float) -> None:
    rng = np.random.default_rng(1)
    W = np.zeros(3000, np.float32)
    tuned = [(rng.standard_normal(3000) * scale).astype(np.float32) for _ in range(3)]
    found = products(W, replaced(tuned))
    assert found.inner == pytest.approx(exact(W, tuned), rel=1e-12, abs=0.0)


def test_a_small_change_among_large_ones_is_measured() -> None:
    W, tuned = model(3, "F32")
    tuned[1] = W.copy()
    tuned[1][:100] = W[:100] + np.float32(2**-20) * np.abs(W[:100])
    found = products(W, replaced(tuned))
    assert found.inner == pytest.approx(exact(W, tuned), rel=1e-6)


@dataclass(frozen=True)
class Place(ArrayTensor):
    """An array that says where it is stored."""

    place: str = ""

    @property
    def storage(self) -> str:
        return self.place


def test_the_same_bytes_are_read_once_and_the_bases_own_not_at_all() -> None:
    W, (one, other) = model(2, size=5000)
    read: list[str] = []

    class Seen(Place):
        def window(self, start: int, stop: int) -> Any:
            read.append(self.place)
            return super().window(start, stop)

    base, tensors = Seen(W, "base"), [Seen(W, "base"), Seen(one, "one"), Seen(one, "one")]
    whole = line(W, [Replaced(t) for t in tensors] + [Replaced(Seen(other, "other")), None])
    found = from_stored(Line(whole.address, base, whole.shape, whole.recipes), False)
    assert found is not None
    assert sorted(read) == ["base", "one", "other"]
    assert not found.inner[[0, 4]].any()
    assert found.inner[1, 1] == found.inner[1, 2] == found.inner[2, 2] > 0
    assert found.inner[1:4, 1:4] == pytest.approx(exact(W, [one, one, other]), rel=1e-12)


def test_changes_that_are_stored_as_such_need_no_base() -> None:
    rng = np.random.default_rng(2)
    D = [rng.standard_normal(4000).astype(np.float32) for _ in range(3)]
    recipes: list[Recipe | None] = [StoredDelta(ArrayTensor(one)) for one in D]
    want = exact(np.zeros(4000), D)
    assert products(None, recipes).inner == pytest.approx(want, rel=1e-12)
    W = rng.standard_normal(4000).astype(np.float32)
    assert products(W, recipes).inner == pytest.approx(want, rel=1e-12)
    mixed = [*recipes[:2], Replaced(ArrayTensor(D[2]))]
    want = exact(np.zeros(4000), [*D[:2], D[2] - W])  # the difference in float32
    assert products(W, mixed).inner == pytest.approx(want, rel=1e-12)


def test_a_tensor_without_entries_has_no_change() -> None:
    W, tuned = model(2, size=0)
    found = products(W, replaced(tuned))
    assert not found.inner.any() and found.base_sq == 0


def test_wide_dtypes_are_left_to_float64() -> None:
    W, tuned = model(2, size=500)
    wide = [one.astype(np.float64) for one in tuned]
    assert from_stored(line(W, replaced(wide)), True) is None
    assert from_stored(line(W.astype(np.float64), replaced(tuned)), True) is None
    found = measure(line(W, replaced(wide)), Asked())
    assert found.inner == pytest.approx(exact(W, wide), rel=1e-12)


def test_of_a_file_that_cannot_be_read_only_its_own_products_are_missing() -> None:
    W, tuned = model(3, size=500)

    class Lost(ArrayTensor):
        def window(self, start: int, stop: int) -> Any:
            raise BadFile("cut short")

    recipes = replaced(tuned)
    recipes[1] = Replaced(Lost(tuned[1]))
    assert from_stored(line(W, recipes), True) is None
    found = measure(line(W, recipes), Asked(base=True))
    assert "cut short" in found.complaints[1]
    assert np.isnan(found.inner[1]).all() and np.isfinite(found.inner[::2, ::2]).all()


def test_many_are_multiplied_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    W, tuned = model(18, size=2000)
    monkeypatch.setattr("ftdiff.deltas.recipes.Replaced.entries", None)  # no reading in float64
    found = measure(line(W, replaced(tuned)), Asked(base=True)).inner
    assert cosines(found) == pytest.approx(cosines(exact(W, tuned)), abs=1e-12)
    two = measure(line(W, replaced(tuned[:2])), Asked(base=True)).inner
    assert np.array_equal(found[:2, :2], two)
