"""Views lend what NumPy's own would, from any run of elements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftdiff.tensors import (
    ArrayTensor,
    FileTensor,
    Halved,
    MappedFile,
    Rows,
    Shifted,
    Strided,
    View,
    stamp,
    stored_as,
)
from ftdiff.tensors.arranged import Reshaped
from ftdiff.tensors.turned import Turned


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


def interleaved(W: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return W.reshape(2, -1, 2, 5).swapaxes(1, 2).reshape(W.shape)


W = np.arange(40, dtype=np.float32).reshape(8, 5)
SHOWN: dict[str, tuple[View, np.ndarray[Any, Any]]] = {
    "rows": (Rows(ArrayTensor(W), 2, 5), W[2:7]),
    "turned": (Turned(ArrayTensor(W)), W.T),
    "reshaped": (Reshaped(ArrayTensor(W), (4, 2, 5)), W.reshape(4, 2, 5)),
    "halved": (Halved(ArrayTensor(W), 2), interleaved(W)),
    "shifted": (Shifted(ArrayTensor(W), 1.0), W - 1),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_a_view_lends_any_run_and_any_rows_of_what_it_shows(kind: str) -> None:
    view, wanted = SHOWN[kind]
    assert (view.shape, view.dtype, stored_as(view)) == (wanted.shape, "F32", "F32")
    for start in range(wanted.size + 1):
        for stop in range(start, wanted.size + 1):
            with view.window(start, stop) as lent:
                assert np.array_equal(lent, wanted.reshape(-1)[start:stop])
    for rows in (slice(None), slice(0, 0), slice(2, 3), slice(1, None, 2), slice(3, 1)):
        assert np.array_equal(view.read(rows), wanted[rows])


def test_all_rows_are_the_tensor_s_bytes_and_fewer_are_others(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(W.tobytes())
    whole = FileTensor(MappedFile(str(tmp_path / "x"), stamp(tmp_path / "x")), 0, W.shape, "F32")
    assert Rows(whole, 0, 8).storage == whole.storage
    assert len({Rows(whole, *run).storage for run in ((0, 8), (0, 4), (4, 4), (0, 3))}) == 4
