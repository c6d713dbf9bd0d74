"""Views lend what NumPy's own would, from any run of elements."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ftdiff.tensors import ArrayTensor, Strided


@st.composite
def views(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    sides = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    whole = np.arange(int(np.prod(sides)), dtype=np.float32).reshape(sides)
    view = whole.transpose(draw(st.permutations(range(len(sides)))))
    return view[tuple(slice(None, None, draw(st.integers(1, 3))) for _ in view.shape)]


@given(views(), st.data())
@settings(deadline=None, max_examples=60)
def test_a_strided_view_lends_its_entries_in_order(
    view: np.ndarray[Any, Any], data: st.DataObject
) -> None:
    base = view
    while isinstance(base.base, np.ndarray):
        base = base.base
    offset = (view.ctypes.data - base.ctypes.data) // 4
    tensor = Strided(
        ArrayTensor(base.reshape(-1)[offset:]), view.shape, tuple(s // 4 for s in view.strides)
    )
    start = data.draw(st.integers(0, view.size))
    stop = data.draw(st.integers(start, view.size))
    with tensor.window(start, stop) as lent:
        assert np.array_equal(lent, view.reshape(-1)[start:stop])
    rows = slice(*sorted(data.draw(st.tuples(*2 * [st.integers(0, view.shape[0])]))), 2)
    assert np.array_equal(tensor.read(rows), view[rows])
