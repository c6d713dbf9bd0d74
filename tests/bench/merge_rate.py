"""What saying which merge a model is costs, against `cat` of the same files.

    python -m tests.bench.merge_rate [--gigabytes 0.6] [--rounds 5] > tests/bench/merge_rate.md

bf16 models of one base: M is a weighted sum of A and B, by several arithmetics, or trained after
that. Rounds alternate, the files are warm, and what is printed is the median over rounds of their
ratios. The pass times itself in a process in which everything is imported and compiled (a small
merge was judged before); the command is timed whole, from outside. Private memory is the largest
anonymous size seen.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from tests.bench.timing import Run, run, warm

PASS = """
import os, sys, time
import ftdiff
small, whole = ([None if one == "-" else one for one in sys.argv[i:i + 4]] for i in (1, 5))
ftdiff.merge_of(small[0], small[2:], small[1])
times = os.times()
start = time.perf_counter()
found = ftdiff.merge_of(whole[0], whole[2:], whole[1])
after = os.times()
print(time.perf_counter() - start, after.user + after.system - times.user - times.system,
      found.verdict)
"""
IMPORTS = """
import ftdiff
from ftdiff.analyses import merges
from ftdiff.comparison import engine
import pandas
"""
HIDDEN, INNER = 1536, 8960
SHAPES = {f"mlp.{name}_proj.weight": (INNER, HIDDEN) for name in ("gate", "up", "down")}
SHAPES |= {f"self_attn.{name}_proj.weight": (HIDDEN, HIDDEN) for name in "qkvo"}
SHAPES |= {f"{name}_layernorm.weight": (HIDDEN,) for name in ("input", "post_attention")}
LOW = ml_dtypes.bfloat16
#: How M is made, and whether the base is given.
CASES = {
    "a sum in float32": ("linear", "-"),
    "a sum in float32, with the base": ("linear", "W"),
    "products and their sum in bf16": ("low", "-"),
    "trained after the merge": ("trained", "-"),
}


def make(folder: Path, layers: int, rows: int = 1) -> Path:
    """Write base, parents and their merges; of few rows for a small copy."""
    rng = np.random.default_rng(0)
    count = INNER * HIDDEN
    noise, first, second, third = rng.standard_normal((4, count), dtype=np.float32)
    W = noise * np.float32(0.05)
    A, B = ((W + one * np.float32(2.5e-4)).astype(LOW) for one in (first, second))
    a, b = (one.astype(np.float32) for one in (A, B))
    linear = np.float32(0.6) * a + np.float32(0.4) * b
    w, v = (np.float32(np.float32(one).astype(LOW)) for one in (0.6, 0.4))
    products = [(x * y).astype(LOW).astype(np.float32) for x, y in ((w, a), (v, b))]
    flat = {
        "W": W.astype(LOW),
        "A": A,
        "B": B,
        "linear": linear.astype(LOW),
        "low": (products[0] + products[1]).astype(LOW),
        "trained": (linear + third * np.float32(1e-5)).astype(LOW),
    }
    for name, values in flat.items():
        state = {}
        for layer in range(layers):
            rolled = np.roll(values, layer * 4099)
            for part, shape in SHAPES.items():
                shape = (shape[0] // rows, *shape[1:])
                state[f"model.layers.{layer}.{part}"] = rolled[: np.prod(shape)].reshape(shape)
        (folder / name).mkdir(parents=True)
        save_file(state, folder / name / "model.safetensors")
    return folder


def main() -> None:
    """Print a table for each way in which a merge is made."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=0.6, help="of each model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose names hold this text")
    options = parser.parse_args()
    each = 2 * sum(int(np.prod(shape)) for shape in SHAPES.values())
    with tempfile.TemporaryDirectory() as folder:
        small = make(Path(folder) / "small", 1, rows=16)
        whole = make(Path(folder) / "whole", max(1, round(options.gigabytes * 1e9 / each)))
        load = ", ".join(f"{one:.0f}" for one in os.getloadavg())
        print(f"Written by `tests/bench/merge_rate.py`; two cores, warm files, load {load}.\n")
        print("| M is | GB | | seconds | × cat | CPU s | private MB | verdict |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for case, (merged, base) in CASES.items():
            if options.only not in case:
                continue
            _case(case, small, whole, merged, base, options.rounds)


def _case(case: str, small: Path, whole: Path, merged: str, base: str, rounds: int) -> None:
    names = [merged, *([] if base == "-" else [base]), "A", "B"]
    files = [whole / name / "model.safetensors" for name in names]
    size = sum(file.stat().st_size for file in files)
    given = [
        ["-" if one == "-" else str(folder / one) for one in (merged, base, "A", "B")]
        for folder in (small, whole)
    ]
    command = [str(whole / merged), str(whole / "A"), str(whole / "B")]
    command += [] if base == "-" else ["--base", str(whole / base)]
    candidates = {
        "cat": ["cat", *map(str, files)],
        "imports alone": [sys.executable, "-c", IMPORTS],
        "the pass": [sys.executable, "-c", PASS, *given[0], *given[1]],
        "the command": ["sh", "-c", '"$@" || true', "-", sys.executable, "-m", "ftdiff",
                        "merge-of", *command],
    }  # fmt: skip
    found: dict[str, list[Run]] = {name: [] for name in candidates}
    for file in files:
        warm([file])
    for _ in range(rounds):
        for name, one in candidates.items():
            found[name].append(run(one))
    for name, runs in found.items():
        timed = name == "the pass"
        printed = [one.printed.split() for one in runs]
        seconds = [float(p[0]) if timed else r.wall for p, r in zip(printed, runs, strict=True)]
        cpu = [float(p[1]) if timed else r.cpu for p, r in zip(printed, runs, strict=True)]
        ratio = statistics.median(
            mine / cat.wall for mine, cat in zip(seconds, found["cat"], strict=True)
        )
        private = statistics.median(one.private for one in runs) / 1e6
        verdict = printed[0][2] if timed else ""
        print(
            f"| {case if name == 'cat' else ''} | {size / 1e9:.2f} | {name} | "
            f"{statistics.median(seconds):.2f} | {ratio:.2f} | {statistics.median(cpu):.2f} | "
            f"{private:.0f} | {verdict} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
