"""Laws of gathered rows, and of an order that is found back."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import ftdiff
from ftdiff.comparison.alignment.gathered_rows import GatheredRows, gathered
from ftdiff.comparison.alignment.vocabulary import first_rows
from ftdiff.deltas.recipes import Added, Product
from ftdiff.tensors import ArrayTensor

EMBED = "model.embed_tokens.weight"
ROWS, WIDTH = 40, 16


def embedding(seed: int = 0, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, WIDTH)).astype(np.float32)


@given(st.lists(st.integers(0, 9), max_size=20), st.data())
def test_gathered_rows_are_the_rows_of_the_whole(order: list[int], data: st.DataObject) -> None:
    whole = embedding(rows=10)
    rows = GatheredRows(ArrayTensor(whole), np.array(order, "<i8").tobytes())
    wanted = whole[np.array(order, int)].reshape(-1)
    assert rows.shape == (len(order), WIDTH)
    start = data.draw(st.integers(0, wanted.size))
    stop = data.draw(st.integers(start, wanted.size))
    with rows.window(start, stop) as found:
        assert np.array_equal(found, wanted[start:stop])
    assert np.array_equal(rows.read().reshape(-1), wanted)


def test_all_rows_in_their_order_are_the_tensor_itself() -> None:
    whole = ArrayTensor(embedding())
    assert gathered(whole, np.arange(ROWS)) is whole
    apart = gathered(whole, np.arange(ROWS)[::-1])
    assert isinstance(apart, GatheredRows) and pickle.loads(pickle.dumps(apart)).shape == (
        ROWS,
        WIDTH,
    )


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(ROWS)), st.integers(-5, 5))
def test_an_order_is_found_back_whatever_was_added_or_removed(order: list[int], more: int) -> None:
    base = embedding()
    tuned = np.concatenate([base[order], embedding(7, max(0, more))])[max(0, -more) :]
    diff = ftdiff.compare({EMBED: base}, {EMBED: tuned})
    reason, delta, size = (diff.frame[name][0] for name in ("reason", "delta_sq", "numel"))
    if str(reason) == "reordered-rows":
        assert delta == 0.0 and size == (ROWS + min(0, more)) * WIDTH
    else:  # hardly a row stands elsewhere
        assert sum(i != at for i, at in enumerate(order[max(0, -more) :])) < 4


def test_rows_that_are_the_same_are_paired_once() -> None:
    base = embedding()
    base[30:] = base[30]
    order = [*range(20, ROWS), *range(20)]
    row = ftdiff.compare({EMBED: base}, {EMBED: base[order]}).frame.iloc[0]
    assert (row["reason"], row["unequal"], row["numel"]) == ("reordered-rows", 0, base.size)


def test_the_first_rows_of_a_product_are_a_product() -> None:
    B, A = embedding(1, 20)[:, :3], embedding(2, 3)
    recipe = Added((20, WIDTH), Product(ArrayTensor(A), ArrayTensor(B), 2.0))
    found = first_rows(recipe, (15, WIDTH))
    assert found is not None and found.shape == (15, WIDTH)
    assert np.allclose(found.delta(None).rows(0, 15), 2 * (B @ A)[:15])
    assert first_rows(recipe, (15, WIDTH + 1)) is None and first_rows(recipe, (40, WIDTH)) is None
