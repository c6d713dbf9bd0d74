"""A whole comparison against `cat` of the same files, a bare read, and the script people write.

    python -m tests.bench.compare_rate [--gigabytes 1.2] [--rounds 5]

Every round evicts the files, reads them in again in large requests, and then runs each candidate on
the warm pair, so that only numbers of one round are compared; what is printed is the median over
rounds of their ratios. The pass and the bare read time themselves once they are compiled, the
others are timed from outside. Memory is the largest private (anonymous) size seen while a process
ran.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from tests.bench.timing import Run, run, warm

NAIVE = """
import sys, torch
from pathlib import Path
from safetensors.torch import load_file
def load(folder):
    state = {}
    for shard in sorted(Path(folder).glob("*.safetensors")):
        state |= load_file(shard)
    return state
base, tuned = load(sys.argv[1]), load(sys.argv[2])
for name, W in base.items():
    W, W1 = W.float(), tuned[name].float()
    d = W1 - W
    torch.norm(d) / torch.norm(W)
    torch.nn.functional.cosine_similarity(W.flatten(), W1.flatten(), dim=0)
    d.abs().max(), d.abs().mean(), (d != 0).float().mean()
"""
PASS = """
import sys, time
import numpy as np
from ftdiff import kernels
from ftdiff.adapters import open_tuned
from ftdiff.comparison import engine
from ftdiff.comparison.plan import pair
from ftdiff.formats import open_checkpoint
base = open_checkpoint(sys.argv[1])
plan = pair(base, open_tuned(sys.argv[2], base))
kernels.sums(np.zeros(1, np.uint16), np.zeros(1, np.uint16), "BF16", "BF16")  # is compiled
start = time.perf_counter()
engine.run(plan)
print(time.perf_counter() - start)
"""
READ = """
import mmap, sys, time
import numpy as np
from pathlib import Path
from concurrent.futures import ThreadPoolExecutor
import os
files = [f for folder in sys.argv[1:3] for f in sorted(Path(folder).glob("*.safetensors"))]
start = time.perf_counter()
def total(job):
    pages, first, last = job
    np.frombuffer(pages, np.uint64, (last - first) // 8, first).sum()
    pages.madvise(mmap.MADV_DONTNEED, first, last - first)
jobs = []
for file in files:
    with open(file, "rb") as opened:
        pages = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    step = 16 << 20
    jobs += [(pages, at, min(at + step, len(pages)) // 8 * 8) for at in range(0, len(pages), step)]
with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
    list(threads.map(total, jobs))
print(time.perf_counter() - start)
"""


def make(folder: Path, gigabytes: float) -> tuple[Path, Path]:
    """Write a sharded bf16 pair, one percent apart, of about this size each."""
    rng = np.random.default_rng(0)
    hidden, inner, vocab = 1536, 8960, 75_968
    shapes = {f"mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up", "down")}
    shapes |= {f"self_attn.{name}_proj.weight": (hidden, hidden) for name in "qo"}
    each = 2 * sum(a * b for a, b in shapes.values())
    layers = max(1, round((gigabytes * 1e9 - 2 * vocab * hidden) / each))
    noise = rng.standard_normal(vocab * hidden, dtype=np.float32)
    for side, size in (("base", 0.0), ("tuned", 0.01)):
        (folder / side).mkdir()
        turned = (noise + size * np.roll(noise, 7)).astype(ml_dtypes.bfloat16)
        for i in range(layers):
            shard = {
                f"model.layers.{i}.{name}": np.roll(turned, i)[: a * b].reshape(a, b)
                for name, (a, b) in shapes.items()
            }
            if i == 0:
                shard["model.embed_tokens.weight"] = turned.reshape(vocab, hidden)
            name = f"model-{i + 1:05d}-of-{layers:05d}.safetensors"
            save_file(shard, folder / side / name)
    return folder / "base", folder / "tuned"


def main() -> None:
    """Print a table of medians and the ratios that the project promises."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=1.2, help="of each checkpoint")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write the pair for the time it takes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        base, tuned = make(Path(folder), options.gigabytes)
        files = sorted([*base.glob("*.safetensors"), *tuned.glob("*.safetensors")])
        size = sum(file.stat().st_size for file in files)
        pair = [str(base), str(tuned)]
        python = [sys.executable, "-c"]
        candidates: dict[str, list[str]] = {
            "cat": ["cat", *map(str, files)],
            "bare read": [*python, READ, *pair],
            "the pass": [*python, PASS, *pair],
            "ftdiff compare": [sys.executable, "-m", "ftdiff", "compare", *pair],
            "naive script": [*python, NAIVE, *pair],
        }
        rounds: dict[str, list[Run]] = {name: [] for name in candidates}
        for _ in range(options.rounds):
            for name, command in candidates.items():
                warm(files)
                rounds[name].append(run(command))
    _report(rounds, size)


def _report(rounds: dict[str, list[Run]], size: int) -> None:
    def inside(name: str) -> Callable[[int], float]:
        """Seconds of a round: what the process timed itself, where it did."""
        timed = name in ("bare read", "the pass")
        return lambda i: float(rounds[name][i].printed) if timed else rounds[name][i].wall

    count = len(rounds["cat"])
    print(f"{size / 1e9:.2f} GB in both checkpoints, {count} rounds, medians")
    print(f"{'':16}{'seconds':>9}{'GB/s':>7}{'CPU s':>7}{'private MB':>12}")
    for name, runs in rounds.items():
        seconds = statistics.median(map(inside(name), range(count)))
        cpu = statistics.median(one.cpu for one in runs)
        private = statistics.median(one.private for one in runs) / 1e6
        print(f"{name:16}{seconds:9.3f}{size / seconds / 1e9:7.1f}{cpu:7.2f}{private:12.0f}")

    def ratio(slow: str, fast: str) -> float:
        return statistics.median(inside(slow)(i) / inside(fast)(i) for i in range(count))

    extra = statistics.median(
        ours.cpu - cat.cpu
        for ours, cat in zip(rounds["ftdiff compare"], rounds["cat"], strict=True)
    )
    print(f"the pass: {ratio('cat', 'the pass'):.2f} × the rate of cat (goal 1.5)")
    print(f"the pass: {ratio('naive script', 'the pass'):.0f} × that of the naive script (goal 30)")
    print(f"the pass: {ratio('bare read', 'the pass'):.2f} of a bare read (goal 0.7)")
    print(f"ftdiff compare: cat + {extra:.2f} s of CPU (goal 1.5)")


if __name__ == "__main__":
    main()
