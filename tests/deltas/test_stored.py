from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ftdiff
from ftdiff.adapters import open_tuned
from ftdiff.comparison.engine import compare
from ftdiff.deltas.recipes import TILE, StoredDelta, as_delta
from ftdiff.errors import BadCall
from ftdiff.formats import open_checkpoint
from ftdiff.tensors import Array, ArrayTensor


def _model(seed: int, rows: int = 6, scale: float = 1.0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        f"layers.{layer}.mlp.up_proj.weight": (rng.standard_normal((rows, 4)) * scale).astype("f4")
        for layer in range(2)
    }


def test_a_delta_release_equals_the_difference_to_the_model_it_makes() -> None:
    base, delta = _model(1), _model(2, scale=0.01)
    tuned = {name: base[name] + delta[name] for name in base}
    direct = compare(base, tuned).frame.set_index("tensor")
    released = compare(base, as_delta(open_tuned(delta))).frame.set_index("tensor")
    for column in ("base_sq", "tuned_sq", "delta_sq", "inner", "delta_abs", "relative_norm"):
        tolerance = 1e-5 * direct["base_sq"].max() if column == "inner" else 0.0
        np.testing.assert_allclose(released[column], direct[column], rtol=1e-5, atol=tolerance)
    assert set(released["status"]) == {"changed"}


def test_a_delta_release_without_a_base_gives_absolute_norms() -> None:
    delta = _model(3)
    frame = compare(None, as_delta(open_tuned(delta))).frame.set_index("tensor")
    for name, dW in delta.items():
        assert frame.loc[name, "delta_sq"] == pytest.approx(
            np.square(dW, dtype="f8").sum(), rel=1e-6
        )
        assert frame.loc[name, "delta_abs"] == pytest.approx(np.abs(dW).sum(dtype="f8"), rel=1e-6)


def test_a_delta_release_with_a_grown_vocabulary_is_measured_on_the_common_rows() -> None:
    base = {"model.embed_tokens.weight": np.ones((5, 4), "f4"), **_model(1)}
    delta = {"model.embed_tokens.weight": np.full((6, 4), 0.5, "f4"), **_model(2)}
    frame = compare(base, as_delta(open_tuned(delta))).frame.set_index("tensor")
    assert frame.loc["model.embed_tokens.weight", "delta_sq"] == pytest.approx(5 * 4 * 0.25)


def test_an_adapter_is_no_delta_release() -> None:
    tuned = as_delta(open_tuned(_model(1)))
    with pytest.raises(BadCall, match="a change already"):
        as_delta(tuned)


@given(st.integers(0, 3), st.sampled_from(["f2", "f4", "f8"]))
def test_tiles_of_a_stored_delta_add_up_to_the_same_bits(cut: int, dtype: str) -> None:
    rng = np.random.default_rng(cut)
    size = 2 * TILE + 100 * cut + 7
    W = ArrayTensor(rng.standard_normal(size).astype("f4"))
    recipe = StoredDelta(ArrayTensor(rng.standard_normal(size).astype(dtype)))
    count = recipe.tiles(W)
    parts = [recipe.moments(W, range(i, i + 1)) for i in range(count)]
    total = parts[0]
    for part in parts[1:]:
        total += part
    assert total == recipe.moments(W)
    assert count == 3


def test_a_delta_keeps_the_base_shape_it_is_given() -> None:
    recipe = StoredDelta(ArrayTensor(np.ones((4, 3), "f4")), (4, 3, 1, 1))
    assert recipe.shape == (4, 3, 1, 1)
    assert recipe.delta(None).shape == (4, 3)


def test_values_that_are_not_finite_are_counted() -> None:
    dW = ArrayTensor(np.array([[1.0, np.nan], [np.inf, 2.0]], "f4"))
    alone = StoredDelta(dW).moments(None).row()
    assert alone["nonfinite_tuned"] == 2
    assert alone["delta_sq"] == 5.0
    assert open_checkpoint({"w": np.ones(2)}).format == "memory"
    assert ftdiff.open_tuned is open_tuned
