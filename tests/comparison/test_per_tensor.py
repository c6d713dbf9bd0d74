"""Metrics that need more than sums: where they are measured, and what travels."""

from __future__ import annotations

import pickle
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ftdiff
from ftdiff.comparison import executors
from ftdiff.comparison import per_tensor as tensorwise
from ftdiff.deltas.recipes.replaced import Unreadable
from ftdiff.metrics import METRICS, metric


class Weighing(Executor):
    """Runs tasks at once, and weighs what would have travelled."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.came: list[int] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        if getattr(args[0], "func", None) is tensorwise.measure:
            self.sent.append(len(pickle.dumps((fn, args))))
            self.came.append(len(pickle.dumps(future.result())))
        return future


def test_neither_weights_nor_spectra_travel(fixtures: Path) -> None:
    workers = Weighing()
    ftdiff.compare(fixtures / "base", fixtures / "full", ["spectral"], workers)
    assert 0 < max(workers.sent) < 4096
    assert max(workers.came) < 4096


@pytest.mark.filterwarnings("ignore")  # distributed's own, on closing
def test_a_metric_written_in_a_notebook_is_measured_on_a_cluster(fixtures: Path) -> None:
    import distributed

    weight = 2.0
    metric("twice", label="2σ₁", formula="2σ₁", range="[0, ∞)", null="–", needs="top")(
        lambda s: weight * s.largest  # a closure: no worker can import it
    )
    try:
        pair = fixtures / "base", fixtures / "lora"
        near = ftdiff.compare(*pair, ["twice", "spectral_norm"])
        with (
            distributed.LocalCluster(
                n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            executors.executor(dask=cluster.scheduler_address) as workers,
        ):
            far = ftdiff.compare(*pair, ["twice", "spectral_norm"], workers)
    finally:
        del METRICS._items["twice"]  # type: ignore[attr-defined]
    pd.testing.assert_frame_equal(far.frame, near.frame)
    assert far.frame["twice"].equals(2 * far.frame["spectral_norm"].rename("twice"))


def test_a_metric_of_ones_own_that_fails_says_its_own_error() -> None:
    @metric("broken", label="b", formula="b", range="b", null="–", needs="top")
    def broken(s: Any) -> float:
        raise ZeroDivisionError("mine")

    try:
        with pytest.raises(ZeroDivisionError, match="mine"):
            ftdiff.compare({"w": np.eye(3)}, {"w": 2 * np.eye(3)}, ["broken"])
    finally:
        del METRICS._items["broken"]  # type: ignore[attr-defined]


def test_a_tensor_that_cannot_be_read_keeps_its_complaint_and_the_rest_its_values() -> None:
    from ftdiff.comparison.per_tensor import measure
    from ftdiff.comparison.plan import Change
    from ftdiff.naming import locate

    change = Change(locate(["w"])["w"], None, Unreadable((3, 3), "the file is gone"))
    found = measure(change, {"spectral_norm": ("top", METRICS["spectral_norm"].compute)})
    assert found.values == {} and found.note == {"unreadable": "the file is gone"}
