"""What a claim costs: `verify-claim` beside `compare`, with and without `--hash`.

    python -m tests.bench.claims [--matrices 16] [--repeats 5] > tests/bench/claims.md

A base and a dense fine-tune of `--matrices` 4096×4096 matrices in bfloat16, one file each. Medians
of calls in one process, in seconds by the clock and of processor time. Warm: the files are in the
page cache. Cold: the cache is asked to drop them before each call. `read` is a bare read of both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

import ftdiff
from ftdiff.analyses.claims import keys

SIZE = 4096


def _tensors(seed: int, change: float, matrices: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    found = {}
    for i in range(matrices):
        W = draw.standard_normal((SIZE, SIZE), dtype=np.float32) * np.float32(0.02)
        dW = np.random.default_rng((7, i)).standard_normal((SIZE, SIZE), dtype=np.float32)
        W += np.float32(change) * dW
        found[f"model.layers.{i}.mlp.up_proj.weight"] = W.astype(ml_dtypes.bfloat16)
    return found


def _written(folder: Path, matrices: int) -> tuple[Path, Path]:
    for side, change in (("base", 0.0), ("tuned", 1e-4)):
        (folder / side).mkdir()
        save_file(_tensors(1, change, matrices), folder / side / "model.safetensors")
    return folder / "base", folder / "tuned"


def _forget(folder: Path) -> None:
    """Ask the page cache to drop every file below a folder."""
    for path in folder.rglob("*.safetensors"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def _read(*folders: Path) -> None:
    for folder in folders:
        with (folder / "model.safetensors").open("rb", buffering=0) as file:
            while file.read(4 << 20):
                pass


def _ways(folder: Path, base: Path, tuned: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    key, public = keys.new_key(folder / "my.key")
    one, other = str(base), str(tuned)
    diff, claims = ftdiff.compare(one, other), folder / "claims.jsonl"
    ftdiff.attest(diff, key).append(claims)
    yield "read", lambda: _read(base, tuned)
    yield "compare", lambda: ftdiff.compare(one, other)
    yield "compare --hash", lambda: ftdiff.compare(one, other, hash=True)
    yield "attest", lambda: ftdiff.attest(diff, key)
    yield "verify-claim", lambda: ftdiff.verify_claim(claims, one, other, public)
    for name, some in (("--digests 1", {"digests": 1}), ("--sample 1", {"sample": 1})):
        check = partial(ftdiff.verify_claim, claims, one, other, public, **some)
        yield f"verify-claim {name}", check


def main() -> None:
    """Measure every way, warm and cold, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--matrices", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, tuned = _written(folder, given.matrices)
        size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
        table: dict[str, list[float]] = {}
        for way, call in _ways(folder, base, tuned):
            call()
            warm, busy = _times(call, given.repeats, lambda: None)
            cold, _ = _times(call, given.repeats, lambda: _forget(folder))
            table[way] = [warm, busy, cold]
    cores = len(os.sched_getaffinity(0))
    print("# What a claim costs\n")
    print(f"Written by `claims.py`: {size / 1e9:.2f} GB in both files, {cores} cores, medians of ")
    print(f"{given.repeats}; seconds, and how many times `compare` and `compare --hash`.\n")
    heads = ("warm", "processor, warm", "cold")
    print("| | " + " | ".join(f"{head} | ÷ compare | ÷ --hash" for head in heads) + " |")
    print("| --- |" + " ---: |" * 3 * len(heads))
    for way, taken in table.items():
        cells = []
        for i, seconds in enumerate(taken):
            ratios = [seconds / table[other][i] for other in ("compare", "compare --hash")]
            cells += [f"{seconds:.3f}", *(f"{ratio:.2f}" for ratio in ratios)]
        print(f"| {way} | {' | '.join(cells)} |")


def _times(
    call: Callable[[], Any], repeats: int, before: Callable[[], None]
) -> tuple[float, float]:
    """Return the medians of the clock's seconds and of the processor's."""
    clock, busy = [], []
    for _ in range(repeats):
        before()
        starts = time.perf_counter(), time.process_time()
        call()
        clock.append(time.perf_counter() - starts[0])
        busy.append(time.process_time() - starts[1])
    return statistics.median(clock), statistics.median(busy)


if __name__ == "__main__":
    main()
