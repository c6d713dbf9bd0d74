"""How often a planted rank is told, and how often a dense change passes for a low rank.

`python -m tests.bench.recovered_ranks > tests/bench/recovered_ranks.md`: minutes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import ml_dtypes
import numpy as np
import torch

import ftdiff
from ftdiff.metrics.linalg.factors import fitted
from ftdiff.metrics.linalg.stored_change import Rounded, rounded
from ftdiff.metrics.linalg.tail import tail

FIXTURES = Path(__file__).parents[2] / "fixtures"
BF16 = np.dtype(ml_dtypes.bfloat16)
DRAWS, DENSE, SPARSE = 20, 200, 40


def merged(
    rng: np.random.Generator, shape: tuple[int, int], rank: int, size: float, decay: float
) -> tuple[Rounded, np.ndarray]:
    """A base, and a LoRA of this relative size merged into it, in bfloat16."""
    W = (0.02 * rng.standard_normal(shape)).astype(BF16)
    L = (rng.standard_normal((shape[0], rank)) * decay ** np.arange(rank)) @ rng.standard_normal(
        (rank, shape[1])
    )
    L *= size * np.linalg.norm(W.astype(np.float64)) / np.linalg.norm(L)
    M = (W.astype(np.float32) + L.astype(np.float32)).astype(BF16)
    return rounded(W.astype(np.float64), M, "BF16"), L


def planted() -> None:
    """Print the share of right ranks, the range of them, and the error of one draw's factors."""
    print("| rank | size | matrix | right | ranks told | error of ΔW | of truncated SVD |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    cases = [(rank, 1.0) for rank in (8, 16, 64)] + [(8, 0.7), (16, 0.85)]
    for rank, decay in cases:
        for size in (3e-3, 1e-2):
            for shape in ((512, 512), (1024, 768)):
                rng = np.random.default_rng(rank)
                told, errors, plain = [], [], []
                for draw in range(DRAWS):
                    stored, L = merged(rng, shape, rank, size, decay)
                    told.append(tail(stored).rank)
                    if not draw and rank < 64:  # minutes for each
                        found = fitted(stored, rank)
                        U, values, V = np.linalg.svd(stored.change, full_matrices=False)
                        cut = (U[:, :rank] * values[:rank]) @ V[:rank]
                        for these, X in ((errors, found.B @ found.A), (plain, cut)):
                            these.append(np.linalg.norm(X - L) / np.linalg.norm(L))
                name = f"{rank}" if decay == 1 else f"{rank}, decaying {decay}ⁱ"
                off = [f"{np.median(one):.4f}" if one else "" for one in (errors, plain)]
                right = np.mean([one == rank for one in told])
                print(
                    f"| {name} | {size:g} | {shape[0]} × {shape[1]} | {right:.0%} | "
                    f"{min(told)}–{max(told)} | {off[0]} | {off[1]} |",
                    flush=True,
                )


def dense() -> None:
    """Print the verdicts on dense changes, on sparse ones, and on a real full fine-tune."""
    rng = np.random.default_rng(5)
    shapes, spread = [(64, 64), (48, 96), (96, 48), (64, 64), (80, 80)], (0.0, 0.7, 1.0)
    verdicts: dict[str, Counter[str]] = {"dense": Counter(), "sparse": Counter()}
    for i in range(DENSE):
        size = 10 ** rng.uniform(-4, -0.7)
        for kind in verdicts if i < SPARSE else ("dense",):
            base, tuned = {}, {}
            for j, shape in enumerate(shapes):
                W, L = 0.02 * rng.standard_normal(shape), rng.standard_normal(shape)
                L *= np.exp(spread[i % 3] * rng.standard_normal((shape[0], 1)))
                if kind == "sparse":
                    L *= rng.random(shape) < 0.05
                elif i % 4 == 3:
                    U, values, V = np.linalg.svd(L, full_matrices=False)
                    L = (U * np.arange(1, len(values) + 1) ** -0.7) @ V
                W = W.astype(BF16).astype(np.float64)
                L *= size * np.linalg.norm(W) / np.linalg.norm(L)
                base[f"layers.{j}.q_proj.weight"] = torch.tensor(W).bfloat16()
                tuned[f"layers.{j}.q_proj.weight"] = torch.tensor(W + L).bfloat16()
            verdicts[kind][ftdiff.recover(base, tuned).verdict] += 1
    for kind, counts in verdicts.items():
        said = ", ".join(f"{verdict} {many}" for verdict, many in sorted(counts.items()))
        print(
            f"\n{counts.total()} {kind} changes of five matrices, 1e-4 to 0.2: {said}.", flush=True
        )
    for name in ("full", "merged", "merged_f32"):
        found = ftdiff.recover(FIXTURES / "base", FIXTURES / name)
        print(f"\n`fixtures/{name}`: {found.sentences[0]}.", flush=True)


if __name__ == "__main__":
    planted()
    dense()
