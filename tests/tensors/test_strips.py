"""A block of a stored matrix is the same of every source, and no byte of it is asked twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ftdiff.tensors import (
    ArrayTensor,
    FileTensor,
    MappedFile,
    PreadFile,
    Source,
    stamp,
    strip,
    strips,
)
from tests.tensors.sources import Asked

ROWS, WIDTH = 6, 40


@pytest.fixture
def matrix() -> np.ndarray:
    return np.arange(2 * ROWS * WIDTH, dtype=np.int32).reshape(2 * ROWS, WIDTH)


def source(kind: str, matrix: np.ndarray, folder: Path) -> Source:
    path = folder / "x.bin"
    path.write_bytes(b"head" + matrix.tobytes())
    made = {"mapped": MappedFile, "pread": PreadFile, "far": PreadFile}[kind](
        str(path), stamp(path)
    )
    return Asked(made) if kind == "far" else made


@pytest.mark.parametrize("kind", ["mapped", "pread", "far", "memory"])
@pytest.mark.parametrize(
    ("rows", "columns"),
    [(range(3, 9), range(5, 17)), (range(2, 4), range(WIDTH)), (range(1, 1), range(3))],
)
def test_a_strip_is_a_block_of_the_matrix(
    kind: str, rows: range, columns: range, matrix: np.ndarray, tmp_path: Path
) -> None:
    tensor = (
        ArrayTensor(matrix)
        if kind == "memory"
        else FileTensor(source(kind, matrix, tmp_path), 4, matrix.shape, "I32")
    )
    wanted = matrix[rows.start : rows.stop, columns.start : columns.stop]
    with strip(tensor, WIDTH, rows, columns) as block:
        np.testing.assert_array_equal(block, wanted)
        assert block.dtype == np.int32


def test_a_far_source_is_asked_for_rows_once_and_for_no_others(
    matrix: np.ndarray, tmp_path: Path
) -> None:
    far = source("far", matrix, tmp_path)
    assert isinstance(far, Asked)
    tensor = FileTensor(far, 4, matrix.shape, "I32")
    for start in range(0, WIDTH, 8):
        with strip(tensor, WIDTH, range(ROWS, 2 * ROWS), range(start, start + 8)) as block:
            np.testing.assert_array_equal(block, matrix[ROWS:, start : start + 8])
    assert far.runs == [(4 + ROWS * WIDTH * 4, 4 + 2 * ROWS * WIDTH * 4)]


def test_what_is_kept_of_far_sources_has_a_bound(
    matrix: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "_ROOM", matrix.nbytes)
    far = source("far", matrix, tmp_path)
    assert isinstance(far, Asked)
    tensor = FileTensor(far, 4, matrix.shape, "I32")
    halves = (range(ROWS), range(ROWS, 2 * ROWS), range(2, ROWS), range(ROWS))
    for rows in halves:  # the third makes the first go
        with strip(tensor, WIDTH, rows, range(3, 5)) as block:
            np.testing.assert_array_equal(block, matrix[rows.start : rows.stop, 3:5])
    assert len(far.runs) == 4
    held = sum(one.size for one in strips._HELD.values())
    assert held <= matrix.nbytes
