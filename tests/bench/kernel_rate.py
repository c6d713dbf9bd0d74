"""How fast the fused loop reads, against reading alone and against NumPy in chunks.

Run with OMP_NUM_THREADS=1 for one-threaded comparisons. Rates are of both tensors' bytes, in GB/s,
medians of alternating rounds; what counts is the ratios of one run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from ftdiff.kernels import gram, product, sums
from ftdiff.tensors import DTYPES, Array


def read(*arrays: Array) -> None:
    """Read every byte and do as little as can be done."""
    for array in arrays:
        array.view(np.uint64).sum()


def numpy_chunked(base: Array, tuned: Array, chunk: int = 1 << 17) -> None:
    """The same sums with NumPy, small chunks converted to float32."""
    for start in range(0, base.size, chunk):
        a = base[start : start + chunk].astype(np.float32)
        b = tuned[start : start + chunk].astype(np.float32)
        d = b - a
        for x, y in ((a, a), (b, b), (d, d), (a, d)):
            np.dot(x, y)
        size = np.abs(d)
        size.max(), size.sum(), np.abs(a).sum()
        np.count_nonzero(a != b), np.count_nonzero(np.signbit(a) != np.signbit(b))
        power = (b.view(np.uint32) & np.uint32(0x7F800000)).view(np.float32)
        np.dot(power, power)


def rates(rounds: int, work: float, **candidates: Callable[[], object]) -> dict[str, list[float]]:
    """Return work per nanosecond of each candidate in each round, after one that is thrown away."""
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds + 1):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            candidate()
            found[name].append(work / (time.perf_counter() - start) / 1e9)
    return {name: values[1:] for name, values in found.items()}


def ratio(found: dict[str, list[float]], name: str, other: str) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(x / y for x, y in zip(found[name], found[other], strict=True))


def main() -> None:
    """Print a row per dtype, then a row per product and Gram matrix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1 << 25, help="of each tensor")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtypes", nargs="*", default=["BF16", "F16", "F32", "F64", "F8_E4M3"])
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(options.entries, dtype=np.float32) * np.float32(0.02)
    print(f"{'dtype':10}{'kernel':>8}{'read':>8}{'numpy':>8}{'/read':>8}{'/numpy':>8}")
    for code in options.dtypes:
        base = weights.astype(DTYPES[code])
        tuned = (weights * np.float32(1.01)).astype(DTYPES[code])
        found = rates(
            options.rounds,
            base.nbytes + tuned.nbytes,
            kernel=lambda a=base, b=tuned, c=code: sums(a, b, c, c),
            read=lambda a=base, b=tuned: read(a, b),
            numpy=lambda a=base, b=tuned: numpy_chunked(a, b),
        )
        middle = "".join(f"{statistics.median(found[name]):8.1f}" for name in found)
        print(
            f"{code:10}{middle}{ratio(found, 'kernel', 'read'):8.2f}"
            f"{ratio(found, 'kernel', 'numpy'):8.2f}"
        )
    print(f"\n{'G multiply-adds/s':24}{'kernel':>8}{'numpy':>8}{'/numpy':>8}")
    for rank in (8, 16, 64):
        B = rng.standard_normal((64, rank), dtype=np.float32)
        A = rng.standard_normal((rank, 4096), dtype=np.float32)
        out = np.empty((64, 4096), np.float32)
        found = rates(
            50 * options.rounds,
            out.size * rank,
            kernel=lambda B=B, A=A, out=out: product(B, A, out),
            numpy=lambda B=B, A=A, out=out: np.matmul(B, A, out=out),
        )
        middle = "".join(f"{statistics.median(found[name]):8.1f}" for name in found)
        print(f"{f'product 64x{rank}x4096':24}{middle}{ratio(found, 'kernel', 'numpy'):8.2f}")
    for rank in (16, 64, 512):
        X = rng.standard_normal((rank, 4096), dtype=np.float32)
        found = rates(
            5 * options.rounds,
            rank * rank * 4096,
            kernel=lambda X=X: gram(X),
            numpy=lambda X=X: (lambda W: W @ W.T)(X.astype(np.float64)),
        )
        middle = "".join(f"{statistics.median(found[name]):8.1f}" for name in found)
        print(f"{f'gram {rank}x4096':24}{middle}{ratio(found, 'kernel', 'numpy'):8.2f}")


if __name__ == "__main__":
    main()
