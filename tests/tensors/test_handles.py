"""However many files a model has, few of them are open at a time."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

pytest.importorskip("resource", reason="a limit of handles is POSIX's")

SHARDS, HANDLES, THREADS = 300, 64, 12
COMPARE = """
import os, resource, sys, threading
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
import ftdiff
from ftdiff.comparison import executors
from ftdiff.tensors import files
files.COPIED = int(sys.argv[2])
with executors.executor(threads=int(sys.argv[3])) as workers:
    diff = ftdiff.compare(*sys.argv[4:], executor=workers)
print(sum(diff.columns["status"] == "changed"), len(diff.about["unreadable"]))
"""


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return two models of many shards."""
    root = tmp_path_factory.mktemp("shards")
    for side in range(2):
        folder = root / str(side)
        folder.mkdir()
        for i in range(SHARDS):
            W = np.full((8, 8), 1 + i + 0.1 * side, np.float32)
            name = f"model.layers.{i}.mlp.up_proj.weight"
            save_file({name: W}, folder / f"model-{i + 1:05d}-of-{SHARDS:05d}.safetensors")
    return [str(root / "0"), str(root / "1")]


@pytest.mark.parametrize("copied", [0, 1 << 18], ids=["mapped", "copied"])
def test_a_model_of_many_shards_takes_few_handles(sides: list[str], copied: int) -> None:
    command = [sys.executable, "-c", COMPARE, *map(str, (HANDLES, copied, THREADS)), *sides]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == [str(SHARDS), "0"], ran.stderr
