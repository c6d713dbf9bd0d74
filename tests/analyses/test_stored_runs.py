"""Probes that are given runs of stored bytes: the numbers of whole rows read one by one."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from ftdiff.analyses.pairwise import Asked, inner_products, measure, stored_changes, stored_runs
from ftdiff.analyses.pairwise.line import Line
from ftdiff.analyses.pairwise.samples import masks
from ftdiff.deltas.recipes import Recipe, Replaced, StoredDelta
from ftdiff.naming import locate
from ftdiff.tensors import Array, ArrayTensor

ROWS, COLUMNS = 700, 1100


def line(dtypes: str = "bbb", broken: bool = False) -> Line:
    rng = np.random.default_rng(0)
    kinds = {"b": ml_dtypes.bfloat16, "f": np.float32, "d": np.float32, "h": np.float16}
    W = rng.standard_normal((ROWS, COLUMNS)).astype(ml_dtypes.bfloat16)
    W[0, :9] = 0
    recipes: list[Recipe | None] = [None]
    for kind in dtypes:
        d = 0.3 * rng.standard_normal((ROWS, COLUMNS)) * (rng.random((ROWS, COLUMNS)) < 0.4)
        T: Array = (d if kind == "d" else W.astype(np.float64) + d).astype(kinds[kind])
        if kind != "d":
            T[0, :5] = -0.0  # zeros that have a sign are no change
        if broken and kind == "b":
            T[3, 700:703] = np.nan
        tensor = ArrayTensor(T)
        recipes.append(StoredDelta(tensor) if kind == "d" else Replaced(tensor))
    base = ArrayTensor(W)
    recipes.append(Replaced(base))
    address = locate(["layers.0.mlp.up_proj.weight"])["layers.0.mlp.up_proj.weight"]
    return Line(address, base, (ROWS, COLUMNS), tuple(recipes))


@pytest.mark.parametrize("dtypes", ["bbb", "bfb", "db", "hh"])
@pytest.mark.parametrize("broken", [False, True])
def test_probes_have_the_numbers_of_rows_that_are_read_one_by_one(
    dtypes: str, broken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(base=True, probes=("masks", "signs", "sketch"))
    one = line(dtypes, broken)
    monkeypatch.setattr(stored_changes, "_LENT", 1)  # runs end within a row of the matrix
    monkeypatch.setattr(stored_runs, "_HELD", 40 * COLUMNS)
    found = measure(one, asked)
    monkeypatch.setattr(inner_products, "from_stored", lambda *_: None)
    want = measure(one, asked)
    assert found.nonfinite.tolist() == want.nonfinite.tolist()
    assert found.inner == pytest.approx(want.inner, rel=1e-6, abs=1e-6)
    for probe, sums in want.probes.items():
        for name, values in sums.items():
            assert found.probes[probe][name] == pytest.approx(values, rel=1e-6, nan_ok=True), name
    assert np.array_equal(found.probes["masks"]["both"], want.probes["masks"]["both"], True)


def test_inner_products_do_not_depend_on_what_else_is_asked() -> None:
    plain = measure(line(), Asked()).inner
    for probe in ("masks", "signs", "sketch"):
        assert np.array_equal(measure(line(), Asked(probes=(probe,))).inner, plain)


def test_masks_of_one_dtype_need_no_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks.Masks, "of_entries", None)
    both = measure(line(), Asked(probes=("masks",))).probes["masks"]["both"]
    assert both[1, 2] > 0 and both[4, 4] == 0
