"""What a comparison costs, as a model with constants of this machine, and how far it holds.

    python -m tests.bench.cost_model > tests/bench/cost_model.md

A command takes CPU for its start (imports, and a look at rows of a few matrices: what kind of
change is it?), for each tensor (opened, paired, a row written), for each byte of both sides, and
for each task. The constants are taken from pairs of other sizes than those that the model is then
held against. CPU-seconds of whole processes are compared, the least of three runs: of
a machine that others use, the clock on the wall says little. How long a run takes where there are
more threads, workers and disks is simulated: tasks begin in order as a thread is free, each after
it was handed out, and no faster than the worker's disk gives its bytes.
"""

from __future__ import annotations

import heapq
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from ftdiff.comparison import executors
from ftdiff.comparison.executors import FAR_BYTES, LEAST, NEAR_BYTES
from tests.comparison.tasks import square, work

#: Sizes that the model is held against: tensors, and the sides of each.
SIZES = ((24, 1024), (60, 2048), (500, 1024))
GB = 1e9


@dataclass(frozen=True)
class Costs:
    """CPU-seconds: of the start, of a tensor, of a byte of both sides, of a far task."""

    start: float
    tensor: float
    byte: float
    task: float


@dataclass(frozen=True)
class Job:
    """A comparison: its tensors, and the bytes of both sides."""

    name: str
    tensors: int
    size: float


@dataclass(frozen=True)
class Place:
    """Machines, the threads of each, and the bytes a second that each reads."""

    workers: int
    threads: int
    disk: float


def pair(folder: Path, tensors: int, side: int) -> Job:
    """Write a base and a fine-tune of bfloat16."""
    chance = np.random.default_rng(0)
    W = chance.standard_normal((side, side), np.float32)
    dW = np.float32(1e-2) * chance.standard_normal((side, side), np.float32)
    for name, values in (("base", W), ("tuned", W + dW)):
        held = values.astype(ml_dtypes.bfloat16)
        layers = {f"model.layers.{i}.mlp.up_proj.weight": held for i in range(tensors)}
        (folder / name).mkdir(parents=True)
        save_file(layers, folder / name / "model.safetensors")
    return Job("", tensors, 4.0 * tensors * side * side)


def measured(folder: Path) -> float:
    """Return the CPU-seconds of a comparison, the least of three."""
    command = [sys.executable, "-m", "ftdiff", "compare", "-j", "2", "--format", "csv"]
    command += [str(folder / "base"), str(folder / "tuned")]
    return min(_cpu(command) for _ in range(3))


def _cpu(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def constants(folder: Path) -> Costs:
    """Measure what is in the model."""
    one, many = pair(folder / "one", 1, 16), pair(folder / "many", 4000, 8)
    small, large = pair(folder / "small", 30, 1280), pair(folder / "large", 60, 2816)
    took = {job: measured(folder / job) for job in ("one", "many", "small", "large")}
    tensor = (took["many"] - took["one"]) / (many.tensors - one.tensors)
    byte = (took["large"] - took["small"]) / (large.size - small.size)
    start = took["small"] - small.tensors * tensor - small.size * byte
    return Costs(start, tensor, byte, _task())


def _task() -> float:
    """Return the CPU-seconds of client, scheduler and worker for a task that does nothing."""
    import distributed

    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster, executors.executor(dask=cluster.scheduler_address) as workers:  # fmt: skip
        before = time.process_time()
        executors.run(work(square), [[number] for number in range(500)], workers)
        return (time.process_time() - before) / 500


def cpu(costs: Costs, job: Job) -> float:
    """Return the CPU-seconds that the model says."""
    return costs.start + job.tensors * costs.tensor + job.size * costs.byte


def wall(costs: Costs, job: Job, place: Place) -> float:
    """Simulate a run: tasks in order, threads that are free, disks that are shared."""
    threads = place.workers * place.threads
    far = place.workers > 1
    base = job.size / 2
    each = min(max(base / (8 * threads), LEAST), FAR_BYTES if far else NEAR_BYTES)
    tasks = max(1, round(base / each))
    free = [(0.0, worker) for worker in range(place.workers) for _ in range(place.threads)]
    heapq.heapify(free)
    disks = [0.0] * place.workers
    end = 0.0
    for number in range(tasks):
        ready, worker = heapq.heappop(free)
        begin = max(ready, number * costs.task if far else 0.0)
        disks[worker] = max(disks[worker], begin) + 2 * each / place.disk
        done = max(begin + 2 * each * costs.byte, disks[worker])
        end = max(end, done)
        heapq.heappush(free, (done, worker))
    return costs.start + job.tensors * costs.tensor + end


def gigaflops() -> float:
    """Return what one core multiplies and adds a second in float64, in 10⁹."""
    A = np.ones((1024, 1024))
    A @ A
    start = time.process_time()
    for _ in range(5):
        A @ A
    return 5 * 2 * 1024**3 / (time.process_time() - start) / 1e9


def main() -> None:
    """Print the constants, how far they hold, and what larger models cost."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs = constants(folder)
        print(f"Start {costs.start:.2f} CPU-s; a tensor {1e3 * costs.tensor:.2f} ms; "
              f"{1e-9 / costs.byte:.1f} GB a CPU-s; a far task {1e3 * costs.task:.1f} ms. "
              f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}.\n")  # fmt: skip
        print("| tensors | GB, both sides | CPU-s, model | CPU-s, measured | ratio |")
        print("| --- | --- | --- | --- | --- |")
        for tensors, side in SIZES:
            where = folder / f"{tensors}"
            job = pair(where, tensors, side)
            said, took = cpu(costs, job), measured(where)
            print(f"| {tensors} | {job.size / GB:.2f} | {said:.2f} | {took:.2f} "
                  f"| {took / said:.2f} |", flush=True)  # fmt: skip
    print("\nSimulated, files not in memory:\n")
    print(
        "| pair | CPU-h | 2 threads, 1.5 GB/s | 16 threads, 5 GB/s | 8 workers of 8, 2 GB/s each |"
    )
    print("| --- | --- | --- | --- | --- |")
    places = (Place(1, 2, 1.5e9), Place(1, 16, 5e9), Place(8, 8, 2e9))
    for job in (
        Job("8B, bf16", 291, 2 * 16.1e9),
        Job("70B, bf16", 723, 2 * 141e9),
        Job("671B, bf16", 45_808, 2 * 1342e9),
    ):
        times = " | ".join(f"{wall(costs, job, place):.0f} s" for place in places)
        print(f"| {job.name} | {cpu(costs, job) / 3600:.2f} | {times} |")
    count, rank, modules, sides = 1000, 16, 224, 4096 + 4096
    products = modules * (count * rank) ** 2 * sides / 2
    size = count * modules * rank * sides * 2
    rate = gigaflops()
    print(
        f"\n{count:,} adapters of rank {rank} on {modules} matrices of {sides // 2} × "
        f"{sides // 2}: {size / GB:.0f} GB to read, {size * costs.byte:.0f} CPU-s; all pairs are "
        f"{products / 1e12:.0f}·10¹² products in float64, {2 * products / rate / 3.6e12:.1f} "
        f"core-hours at {rate:.0f} GFLOPS a core."
    )


if __name__ == "__main__":
    main()
