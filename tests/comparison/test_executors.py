from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import ftdiff
from ftdiff.comparison import executors
from ftdiff.errors import BadCall


@pytest.mark.filterwarnings("ignore")  # distributed's own, on closing
def test_a_real_dask_scheduler_gives_the_same_bits(fixtures: Path, tmp_path: Path) -> None:
    import distributed

    base, tuned = fixtures / "base", fixtures / "full"
    alone = ftdiff.compare(base, tuned)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        with executors.executor(dask=cluster.scheduler_address) as workers:
            diff = ftdiff.compare(base, tuned, executor=workers)
        pd.testing.assert_frame_equal(diff.frame, alone.frame)
        command = [sys.executable, "-m", "ftdiff", "compare", str(base), str(tuned)]
        options = ["--dask", cluster.scheduler_address, "--format", "json"]
        done = subprocess.run(
            [*command, *options], check=True, capture_output=True, text=True, timeout=120
        )
    rows = json.loads(done.stdout)["tensors"]
    assert [row["delta_sq"] for row in rows] == [*alone.frame["delta_sq"]]


def test_no_scheduler_is_one_line() -> None:
    with (
        pytest.raises(BadCall, match="no scheduler answers there"),
        executors.executor(dask="tcp://127.0.0.1:9"),
    ):
        pass


def test_nothing_asked_is_the_engines_own_choice() -> None:
    with executors.executor() as chosen:
        assert chosen is None
