"""How often each rule of `ftdiff findings` speaks where a structure is planted, and where none is.

    python -m tests.bench.findings_power [--seeds 30] [--nulls 200]

takes ten minutes of one core and writes `findings_power.csv` beside itself, and the short table
that `ftdiff findings --help` prints. In the CSV is a row per rule, number of layers and of
components, size of the structure, noise and autocorrelation, with the share of seeds in which the
structure was told of the component that has it; and a row per kind of noise with the share of
seeds in which any pattern was told. Seeds are fixed: the file is the same whenever it is written.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from itertools import chain, product
from pathlib import Path

import numpy as np
import pandas as pd

import ftdiff
from ftdiff.analyses.findings import RULES, findings, structural
from ftdiff.comparison.grid import grids
from ftdiff.tensors import Array

OUT = Path(__file__).with_suffix(".csv")
SHORT = Path(ftdiff.__file__).parent / "analyses" / "findings" / "power.txt"
NAMES = ("q", "k", "v", "o", "up", "down", "gate")


@dataclass(frozen=True)
class Cell:
    """A row of the table; of noise, `size` is 0 and `rule` any."""

    rule: str
    layers: str
    components: str
    percent: int
    noise: int
    phi: float
    seeds: int
    told: float


def names(m: int) -> list[str]:
    """Return names of components: attention and MLP in turns of four and three."""
    return [f"{'attn' if i % 7 < 4 else 'mlp'}.{NAMES[i % 7]}{i // 7 or ''}" for i in range(m)]


def noise(
    rng: np.random.Generator, layers: int, m: int, phi: float, *, shared: bool = False,
    tails: bool = False,
) -> Array:  # fmt: skip
    """Return AR(1) noise of variance 1, layers × components; with Student's tails of 3 degrees."""
    draws = rng.standard_t(3, (layers, m)) if tails else rng.normal(size=(layers, m))
    if shared:
        draws = np.repeat(draws[:, :1], m, axis=1)
    for i in range(1, layers):
        draws[i] = phi * draws[i - 1] + np.sqrt(1 - phi**2) * draws[i]
    return draws


def matrix(log: Array) -> pd.DataFrame:
    """Return a matrix that `findings` reads, of logarithms."""
    return pd.DataFrame(0.02 * np.exp(log), columns=names(log.shape[1]))


def planted(shape: str, size: float, layers: int, rng: np.random.Generator) -> Array:
    """Return a curve in logarithms: a line, a third of the layers or the rest of them higher."""
    at = np.arange(layers)
    third = max(3, layers // 3)
    start = int(rng.integers(1, layers - third))
    cut = int(rng.integers(max(3, layers // 4), layers - max(3, layers // 4) + 1))
    shapes = {
        "trend": at / (layers - 1),
        "hump": (at >= start) & (at < start + third),
        "step": at >= cut,
        "crossing": 2 * (at >= cut) - 1.0,
        "contrast": np.ones(layers),
        "outlier": np.ones(layers),
        "tensor": at == cut,
    }
    curve: Array = shapes[shape] * np.log1p(size)
    return curve


#: By what is planted: the rules that may tell it, one of them of the planted component.
TELLS = {
    "trend": ("depth-trend", "depth-peak", "layer-groups"),
    "hump": ("depth-peak", "layer-groups", "depth-trend"),
    "step": ("layer-groups", "depth-peak", "depth-trend"),
    "crossing": ("crossing",),
    "contrast": ("contrast", "outlier-component"),
    "outlier": ("outlier-component",),
    "tensor": ("tensor-apart",),
}


def told(data: pd.DataFrame, shape: str) -> bool:
    """Whether a structure that was planted in the first component is told of it."""
    (grid,) = grids(data)
    rows = (row for rule in TELLS[shape] for row in RULES[rule].generate(grid))
    return any(name == "attn.q" for row in rows for _, name in row.cells)


def power(shape: str, layers: int, m: int, size: float, spread: float, phi: float, n: int) -> float:
    """Return in how many of n seeds a planted structure is told."""
    hits = 0
    for seed in range(n):
        rng = np.random.default_rng([seed, layers, m])
        log = spread * noise(rng, layers, m, phi)
        log[:, 0] += planted(shape, size, layers, rng)
        hits += told(matrix(log), shape)
    return hits / n


#: Layers and components of matrices without structure, in turn.
SHAPES = [
    (layers, m)
    for layers, m in zip(
        (2, 4, 5, 6, 8, 12, 16, 24, 28, 32, 36, 48, 64, 80, 96) * 7,
        (7, 1, 4, 2, 12, 7, 3, 16, 7, 5, 20, 7, 2, 4) * 8,
        strict=False,
    )
]
NULLS: dict[str, Callable[[np.random.Generator, int, int], Array]] = {
    "iid": lambda rng, n, m: 0.08 * noise(rng, n, m, 0),
    "iid 30 %": lambda rng, n, m: 0.3 * noise(rng, n, m, 0),
    "AR(0.5)": lambda rng, n, m: 0.08 * noise(rng, n, m, 0.5),
    "AR(0.8)": lambda rng, n, m: 0.08 * noise(rng, n, m, 0.8),
    "AR(0.8) 20 %": lambda rng, n, m: 0.2 * noise(rng, n, m, 0.8),
    "AR(0.8) shared": lambda rng, n, m: (
        0.08 * noise(rng, n, m, 0.8, shared=True) + 0.01 * rng.normal(size=(n, m))
    ),
    "random levels": lambda rng, n, m: 0.05 * noise(rng, n, m, 0) + 0.1 * rng.normal(size=m),
    "t(3)": lambda rng, n, m: 0.08 * noise(rng, n, m, 0, tails=True),
    "missing": lambda rng, n, m: np.where(
        rng.random((n, m)) < 0.2, np.nan, 0.08 * noise(rng, n, m, 0.5)
    ),
}


def false(kind: str, n: int, contrasts: bool = True) -> float:
    """Return in how many of n seeds any pattern is told of noise.

    Components whose levels are drawn at random do differ: there contrasts are true.
    """
    hits = 0
    for seed in range(n):
        rng = np.random.default_rng([seed, 7])
        rows = findings(matrix(NULLS[kind](rng, *SHAPES[seed % len(SHAPES)])))
        wrong = structural(rows)
        if contrasts and kind != "random levels":
            wrong += [row for row in rows if row.rule in ("contrast", "attention-against-mlp")]
        hits += bool(wrong)
    return hits / n


#: One of these at a time differs from 28 layers, 7 components, 10 % noise and an AR(1) of 0.4.
LAYERS, COMPONENTS, NOISES, PHIS = (8, 12, 16, 24, 48, 96), (2, 4, 20), (5, 20), (0.0, 0.8)
PERCENTS, FEW = (15, 30, 60, 100), (30, 60)
#: A tensor apart is larger by other factors, and an outlier's level is among random ones.
LARGE = {"tensor": (100, 200, 500, 1000), "outlier": (30, 60, 100, 200)}


def cells(seeds: int) -> Iterator[Cell]:
    """Measure every row of the power table."""
    for shape in TELLS:
        sizes = LARGE.get(shape, PERCENTS)
        few = sizes[1:3] if shape in LARGE else FEW
        rows = [(n, 7, size, 10, 0.4) for n, size in product(LAYERS, sizes)]
        rows += [(28, m, size, 10, 0.4) for m, size in product(COMPONENTS, few)]
        rows += [(28, 1, size, 10, 0.4) for size in few if shape in ("trend", "hump", "step")]
        rows += [(28, 7, size, spread, 0.4) for spread, size in product(NOISES, few)]
        rows += [(28, 7, size, 10, phi) for phi, size in product(PHIS, few)]
        for n, m, size, spread, phi in rows:
            share = power(shape, n, m, size / 100, spread / 100, phi, seeds)
            yield Cell(shape, str(n), str(m), size, spread, phi, seeds, round(share, 3))


#: Structures among noise of 8 % and an AR(1) of 0.4, over many layers and few, in 2 to 16
#: components in turn.
MIXED = (("trend", 60), ("hump", 50), ("step", 40))
DEPTHS = ((24, 32, 48), (12, 16))
BESIDE = (2, 4, 7, 12, 16)


def mixed(shape: str, percent: int, depths: tuple[int, ...], seeds: int) -> Cell:
    """Return in how many seeds a structure is told, whatever the number of components."""
    hits = 0
    for seed in range(seeds):
        rng = np.random.default_rng([seed, percent])
        layers, m = depths[seed % len(depths)], BESIDE[seed % len(BESIDE)]
        log = 0.08 * noise(rng, layers, m, 0.4)
        log[:, 0] += planted(shape, percent / 100, layers, rng)
        hits += told(matrix(log), shape)
    span = f"{depths[0]}-{depths[-1]}"
    return Cell(shape, span, "2-16", percent, 8, 0.4, seeds, round(hits / seeds, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--nulls", type=int, default=200)
    options = parser.parse_args()
    with OUT.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([one.name for one in fields(Cell)])
        for kind in NULLS:
            share = false(kind, options.nulls)
            name = f"any pattern in noise: {kind}"
            row = Cell(name, "2-96", "1-20", 0, 0, 0.0, options.nulls, share)
            writer.writerow(astuple(row))
            file.flush()
        of_many = (mixed(*what, depths, options.nulls) for what, depths in product(MIXED, DEPTHS))
        for cell in chain(cells(options.seeds), of_many):
            writer.writerow(astuple(cell))
            file.flush()
    SHORT.write_text(short(), encoding="utf-8")


#: Rows of the short table: what is planted, by how much, and in words.
WORDS = {
    ("trend", 30): "trend of 30 %",
    ("trend", 60): "trend of 60 %",
    ("trend", 100): "trend of 100 %",
    ("hump", 60): "a third 60 % higher",
    ("step", 60): "step of 60 %",
    ("crossing", 60): "crossing, 60 % each side",
    ("contrast", 30): "contrast of 30 %",
    ("outlier", 100): "outlier component, × 2",
    ("tensor", 500): "one tensor, × 6",
}


def short() -> str:
    """Return the short table, made of the CSV."""
    with OUT.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["rule"].startswith("any")]
    lines = ["layers" + "".join(f"{n:>5}" for n in LAYERS).rjust(54 - 6)]
    for (shape, percent), words in WORDS.items():
        shares = {
            row["layers"]: float(row["told"])
            for row in rows
            if (row["rule"], row["percent"], row["components"], row["noise"], row["phi"])
            == (shape, str(percent), "7", "10", "0.4")
        }
        cells = "".join(f"{100 * shares[str(n)]:>5.0f}" for n in LAYERS)
        lines.append(words + cells.rjust(54 - len(words)))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
