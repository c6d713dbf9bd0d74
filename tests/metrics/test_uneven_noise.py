"""Noise is no structure, even or not; what stands out of it is."""

from __future__ import annotations

import numpy as np
import pytest

import ftdiff
from ftdiff.metrics.linalg.noise_spectrum import edge, noise
from ftdiff.metrics.linalg.row_matrices import Held
from ftdiff.metrics.linalg.uneven_noise import Unevenness, _edge, unevenness
from ftdiff.metrics.records.spectra import of_matrix
from ftdiff.metrics.spectral import mp_excess
from ftdiff.tensors import Array

SHAPES = [(120, 180), (160, 160), (300, 80)]
#: By kind, the sizes of rows and of columns.
KINDS = ["even", "rows", "columns", "both", "some rows", "one row", "rounding", "uneven rounding"]


def threefold(draw: np.random.Generator, count: int) -> Array:
    sizes: Array = draw.permutation(np.geomspace(1, 3, count))
    return sizes


def made(kind: str, shape: tuple[int, int], seed: int) -> Array:
    draw = np.random.default_rng(seed)
    X = draw.normal(size=shape)
    if kind in ("rows", "both", "uneven rounding"):
        X *= threefold(draw, shape[0])[:, None]
    if kind in ("columns", "both"):
        X *= threefold(draw, shape[1])
    if kind == "some rows":
        X[: shape[0] // 8] *= 3
    if kind == "one row":
        X[3] *= 6
    if kind.endswith("rounding"):
        import torch

        W = torch.from_numpy(X)
        X = (W.to(torch.bfloat16).double() - W).numpy()
    return X


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_no_excess_however_uneven(kind: str, shape: tuple[int, int]) -> None:
    counts = [mp_excess(of_matrix(Held(made(kind, shape, seed)))) for seed in range(3)]
    assert sum(counts) <= 1


def test_even_noise_takes_the_edge_of_even_noise() -> None:
    for m, n in SHAPES:
        assert _edge(np.ones(m), np.ones(n)) == pytest.approx(edge(m, n), rel=1e-5)
        assert Unevenness(np.ones(m), np.ones(n)).edge == edge(m, n)
        assert Unevenness(np.ones(m), np.ones(n)).median == noise(m, n).median


@pytest.mark.parametrize("shape", [(500, 700), (600, 600), (1000, 250)])
def test_the_edge_and_the_median_are_those_of_drawn_noise(shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    r, c = (threefold(draw, side) ** 2 for side in shape)
    sizes = Unevenness(r / r.mean(), c / c.mean())
    scale = np.sqrt(np.outer(sizes.rows, sizes.columns))
    values = np.linalg.svd(scale * draw.normal(size=shape), compute_uv=False)
    assert np.median(values) == pytest.approx(sizes.median, rel=0.01)
    assert 0.95 < values[0] / sizes.edge < 1


@pytest.mark.parametrize("kind", ["even", "rows", "both"])
def test_what_stands_out_of_uneven_noise_is_counted(kind: str) -> None:
    N = made(kind, (200, 300), 1)
    draw = np.random.default_rng(2)
    U, V = (np.linalg.qr(draw.normal(size=(side, 3)))[0] for side in N.shape)
    sizes = 1.3 * np.linalg.norm(N, 2) * np.array([3.0, 2.0, 1.0])
    assert mp_excess(of_matrix(Held(N + (U * sizes) @ V.T))) == 3


def test_the_drawn_edge_is_the_counted_one() -> None:
    N = made("rows", (200, 300), 1)
    note = ftdiff.compare({"w": 0 * N}, {"w": N}, ["mp_excess"]).about["spectra"]["w"]
    assert note["curve"]["above"] == 0
    assert note["curve"]["edge"] > note["curve"]["sigma"][0]


def test_sizes_are_told_from_chance() -> None:
    even = unevenness(Held(np.random.default_rng(0).normal(size=(400, 500))))
    assert max(np.ptp(even.rows), np.ptp(even.columns)) < 0.2
    r = np.geomspace(1, 9, 400)
    uneven = unevenness(
        Held(np.sqrt(r)[:, None] * np.random.default_rng(0).normal(size=(400, 500)))
    )
    assert np.abs(uneven.rows / (r / r.mean()) - 1).mean() < 0.1
    assert np.ptp(uneven.columns) < 0.4
    assert unevenness(Held(np.zeros((9, 9)))).none
