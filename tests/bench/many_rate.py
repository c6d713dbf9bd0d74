"""What comparing N fine-tunes with each other costs, as N grows: adapters, and whole checkpoints.

    python -m tests.bench.many_rate [--numbers 2 10 16] [--adapters 10 50] [--layers 4] [--deep 1]
        [--usual 0]

Rank-16 adapters on all seven projections of a 7B Llama's shapes, `--layers` layers of them (32 are
a whole model); bf16 checkpoints of `--deep` such layers with their base. The yardsticks, in the
same rounds: `cat` of the files, and the usual script, which loads each pair of checkpoints,
subtracts the base and takes the cosine in float32 (up to N = `--usual`). Warm files, alternating;
"the pass" is what a process measures once it is compiled, all else whole processes. Private memory
is the largest anonymous size seen. Adapters beyond the fifth are links to the first ones;
checkpoints are copies, since the same bytes are read once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from tests.bench.adapter_price import SHAPES, make_adapter
from tests.bench.timing import Run, run, timed, warm

OURS = """
import sys
import ftdiff
base = None if sys.argv[1] == "-" else sys.argv[1]
print(ftdiff.similarity(sys.argv[2:], base).matrix.iloc[0, 1])
"""
PASS = """
import resource, sys, time
from functools import partial
from ftdiff.analyses.pairwise import Asked, line_up, measure, run, unmeasured
base, *tuned = sys.argv[1:]
lineup = line_up(base, tuned)
task = partial(measure, asked=Asked(base=True))
lost = partial(unmeasured, asked=Asked(base=True))
task(min(lineup.lines, key=lambda line: line.shape))  # is compiled
used = resource.getrusage(resource.RUSAGE_SELF)
start = time.perf_counter()
run(lineup.lines, task, lost)
wall = time.perf_counter() - start
now = resource.getrusage(resource.RUSAGE_SELF)
print(wall, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)
"""
AGAINST = """
import sys
from ftdiff.analyses.similarity import held_against
print(held_against(sys.argv[1], sys.argv[2:]).nearest(3))
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


def make_checkpoint(folder: Path, seed: int, layers: int = 1) -> Path:
    """Write layers of bf16 weights, all alike: the base for seed 0, else a fine-tune of it."""
    state = {}
    for at, (name, shape) in enumerate(SHAPES.items()):
        W = np.random.default_rng(at).standard_normal(shape, dtype=np.float32)
        if seed:
            own = np.random.default_rng(100 * seed + at)
            W += np.float32(0.02) * own.standard_normal(shape, dtype=np.float32)
        stored = W.astype(ml_dtypes.bfloat16)
        state |= {f"model.layers.{layer}.{name}.weight": stored for layer in range(layers)}
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
    parser.add_argument("--numbers", type=int, nargs="*", default=[2, 10, 16], help="checkpoints")
    parser.add_argument("--adapters", type=int, nargs="*", default=[10, 50], help="adapters")
    parser.add_argument("--layers", type=int, default=4, help="of the adapters")
    parser.add_argument("--deep", type=int, default=1, help="layers of the checkpoints")
    parser.add_argument("--usual", type=int, default=0, help="the usual script up to this N")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="where to write the files for the time it takes"
    )
    options = parser.parse_args()
    print("| | N | GB | wall s | CPU s | wall × cat | CPU × cat | private MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        _adapters(Path(temporary), options)
        _checkpoints(Path(temporary), options)


def _adapters(root: Path, options: argparse.Namespace) -> None:
    most = max(options.adapters, default=0)
    made = [make_adapter(root / f"adapter-{i}", options.layers) for i in range(min(most, 5))]
    made += [linked(root / f"adapter-{i}", made[i % 5]) for i in range(5, most)]
    for number in options.adapters:
        some = [*map(str, made[:number])]
        files = [f"{path}/adapter_model.safetensors" for path in some]
        _alternate(number, files, options.rounds, {
            "cat of the adapters": ["cat", *files],
            "ftdiff, all pairs of adapters": [sys.executable, "-c", OURS, "-", *some],
            "ftdiff, one against the others": [sys.executable, "-c", AGAINST, *some],
        })  # fmt: skip


def _checkpoints(root: Path, options: argparse.Namespace) -> None:
    most = max(options.numbers, default=0)
    base = make_checkpoint(root / "base", 0, options.deep)
    numbers = range(1, min(most, 5) + 1)
    made = [make_checkpoint(root / f"tuned-{i}", i, options.deep) for i in numbers]
    made += [shutil.copytree(made[i % 5], root / f"tuned-{i + 1}") for i in range(5, most)]
    for number in options.numbers:
        some = [*map(str, made[:number])]
        files = [f"{path}/model.safetensors" for path in (*some, base)]
        ways = {
            "cat of the checkpoints": ["cat", *files],
            "the pass, checkpoints": [sys.executable, "-c", PASS, str(base), *some],
            "ftdiff, checkpoints": [sys.executable, "-c", OURS, str(base), *some],
        }
        if number <= options.usual:
            usual = [sys.executable, "-c", USUAL, str(base), *some]
            ways["the usual script, pair by pair"] = usual
        _alternate(number, files, options.rounds, ways)


def _alternate(number: int, files: list[str], rounds: int, ways: dict[str, list[str]]) -> None:
    found: dict[str, list[Run]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, command in ways.items():
            warm([*map(Path, dict.fromkeys(files))])
            found[name].append(run(command))
    size = sum(os.path.getsize(file) for file in files) / 1e9
    cats = [timed(one) for one in next(iter(found.values()))]
    for name, runs in found.items():
        both = [timed(one) for one in runs]
        wall, cpu = (statistics.median(one[k] for one in both) for k in range(2))
        ratios = [
            statistics.median(one[k] / cat[k] for one, cat in zip(both, cats, strict=True))
            for k in range(2)
        ]
        private = statistics.median(one.private for one in runs) / 1e6
        print(
            f"| {name} | {number} | {size:.2f} | {wall:.2f} | {cpu:.2f} | {ratios[0]:.2f} | "
            f"{ratios[1]:.2f} | {private:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
