"""What comparing N fine-tunes with each other costs, as N grows: adapters, and whole checkpoints.

    python tests/bench/many_rate.py [--numbers 2 10 50] [--layers 4] [--usual 10]

Rank-16 adapters on all seven projections of a 7B Llama's shapes, `--layers` layers of them (32 are
a whole model); bf16 checkpoints of one such layer with their base. The yardsticks, in the same
rounds: `cat` of the files, and the usual script, which loads each pair of checkpoints, subtracts
the base and takes the cosine in float32 (up to N = `--usual`). Whole processes, warm files; private
memory is the largest anonymous size seen. Checkpoints beyond the fifth are links to the first ones:
the same bytes are read again, from memory.
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
from adapter_price import SHAPES, make_adapter
from compare_rate import Run, run, warm
from safetensors.numpy import save_file

OURS = """
import sys
import ftdiff
base = None if sys.argv[1] == "-" else sys.argv[1]
print(ftdiff.similarity(sys.argv[2:], base).matrix.iloc[0, 1])
"""
USUAL = """
import itertools, sys, torch
from safetensors.torch import load_file
base, *tuned = sys.argv[1:]
for a, b in itertools.combinations(tuned, 2):
    W, A, B = (load_file(f"{path}/model.safetensors") for path in (base, a, b))
    total = [0.0, 0.0, 0.0]
    for name in W:
        x = (A[name].float() - W[name].float()).flatten()
        y = (B[name].float() - W[name].float()).flatten()
        for i, (u, v) in enumerate(((x, y), (x, x), (y, y))):
            total[i] += float(torch.dot(u, v))
print(total[0] / (total[1] * total[2]) ** 0.5)
"""


def make_checkpoint(folder: Path, seed: int) -> Path:
    """Write one layer of bf16 weights: the base for seed 0, else a fine-tune of it."""
    state = {}
    for at, (name, shape) in enumerate(SHAPES.items()):
        W = np.random.default_rng(at).standard_normal(shape, dtype=np.float32)
        if seed:
            own = np.random.default_rng(100 * seed + at)
            W += np.float32(0.02) * own.standard_normal(shape, dtype=np.float32)
        state[f"model.layers.0.{name}.weight"] = W.astype(ml_dtypes.bfloat16)
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    return folder


def linked(folder: Path, of: Path) -> Path:
    """Return a folder that holds the same file."""
    folder.mkdir()
    for path in of.iterdir():
        os.link(path, folder / path.name)
    return folder


def main() -> None:
    """Print a row for each number and way."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--numbers", type=int, nargs="+", default=[2, 10, 50])
    parser.add_argument("--layers", type=int, default=4, help="of the adapters")
    parser.add_argument("--usual", type=int, default=10, help="the usual script up to this N")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    most = max(options.numbers)
    python = [sys.executable, "-c"]
    print(f"{'':34}{'N':>4}{'wall s':>8}{'CPU s':>8}{'× cat':>8}{'s a file':>10}{'private MB':>12}")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        adapters = [
            make_adapter(root / f"adapter-{i}", options.layers) for i in range(min(most, 5))
        ]
        adapters += [linked(root / f"adapter-{i}", adapters[i % 5]) for i in range(5, most)]
        base = make_checkpoint(root / "base", 0)
        tuned = [make_checkpoint(root / f"tuned-{i}", i) for i in range(1, min(most, 5) + 1)]
        tuned += [linked(root / f"tuned-{i}", tuned[i % 5]) for i in range(6, most + 1)]
        for number in options.numbers:
            some, whole = [*map(str, adapters[:number])], [*map(str, tuned[:number])]
            thin = [f"{path}/adapter_model.safetensors" for path in some]
            thick = [f"{path}/model.safetensors" for path in (*whole, base)]
            ways = {
                "cat of the adapters": ["cat", *thin],
                "ftdiff, adapters": [*python, OURS, "-", *some],
                "cat of the checkpoints": ["cat", *thick],
                "ftdiff, checkpoints": [*python, OURS, str(base), *whole],
            }
            if number <= options.usual:
                ways["the usual script, pair by pair"] = [*python, USUAL, str(base), *whole]
            found: dict[str, list[Run]] = {name: [] for name in ways}
            for _ in range(options.rounds):
                for name, command in ways.items():
                    warm([Path(file) for file in {*thin, *thick}])
                    found[name].append(run(command))
            _print(number, found)


def _print(number: int, found: dict[str, list[Run]]) -> None:
    yardstick = 1.0
    for name, runs in found.items():
        wall, cpu = (statistics.median(getattr(r, k) for r in runs) for k in ("wall", "cpu"))
        private = statistics.median(one.private for one in runs) / 1e6
        if name.startswith("cat"):
            yardstick = wall
        row = f"{name:34}{number:4}{wall:8.2f}{cpu:8.2f}{wall / yardstick:8.1f}"
        print(f"{row}{wall / number:10.3f}{private:12.0f}", flush=True)


if __name__ == "__main__":
    main()
