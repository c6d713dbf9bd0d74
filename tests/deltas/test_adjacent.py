"""Small tensors side by side are measured in one call: to the same bits as one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import ftdiff
from ftdiff import kernels
from ftdiff.comparison import engine, spans
from ftdiff.comparison.plan import Plan, pair
from ftdiff.comparison.spans import Span
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import TILE, adjacent

SIZES = [(8, 24)] * 5 + [(16, 12), (7,), (8, 24), (4, 4), (4, 4), (0, 3)]


def plan_of(
    folder: Path, base: torch.dtype, tuned: torch.dtype, sizes: list[tuple[int, ...]]
) -> Plan:
    """Write both sides, one of their values not finite, and pair them."""
    draw = torch.Generator().manual_seed(3)
    names = [f"model.layers.{i:02}.mlp.up_proj.weight" for i in range(len(sizes))]
    held = {n: torch.randn(size, generator=draw) for n, size in zip(names, sizes, strict=True)}
    moved = {name: W + 0.1 * torch.randn(W.shape, generator=draw) for name, W in held.items()}
    held[names[1]].view(-1)[5] = float("nan")
    moved[names[2]].view(-1)[0] = float("inf")
    moved[names[3]] = held[names[3]] = torch.zeros(sizes[3])
    for side, dtype, values in (("base", base, held), ("tuned", tuned, moved)):
        (folder / side).mkdir()
        save_file({n: W.to(dtype) for n, W in values.items()}, folder / side / "model.safetensors")
    opened = ftdiff.open_checkpoint(folder / "base")
    return pair(opened, ftdiff.open_tuned(folder / "tuned", opened))


@pytest.mark.parametrize(
    ("base", "tuned"),
    [
        (torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.bfloat16),  # off the tuned side's grid
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
    ],
    ids=str,
)
def test_a_run_has_the_bits_of_its_tensors_one_by_one(
    base: torch.dtype, tuned: torch.dtype, tmp_path: Path
) -> None:
    changes = plan_of(tmp_path, base, tuned, SIZES).changes
    pairs = [(change.recipe, change.base) for change in changes]
    cut = [*adjacent.runs(pairs)]
    assert [i for run in cut for i in run] == [*range(len(pairs))]
    assert max(map(len, cut)) >= 5
    for run in cut:
        if len(run) > 1:
            found = adjacent.moments([pairs[i] for i in run])
            assert [*map(repr, found)] == [repr(spans.moments(changes[i])) for i in run]


def test_what_is_large_apart_or_shared_is_no_run(tmp_path: Path) -> None:
    changes = plan_of(tmp_path, torch.bfloat16, torch.bfloat16, [(4, 8)] * 6).changes
    pairs = [(change.recipe, change.base) for change in changes]
    assert [len(run) for run in adjacent.runs(pairs)] == [6]
    assert [len(run) for run in adjacent.runs(pairs[:2] + pairs[3:])] == [2, 3]
    assert [len(run) for run in adjacent.runs([pairs[1], pairs[0]])] == [1, 1]
    assert [len(run) for run in adjacent.runs([(pairs[0][0], None), pairs[1]])] == [1, 1]
    assert [*adjacent.runs([])] == []
    same = ftdiff.open_checkpoint(tmp_path / "base")
    shared = pair(same, ftdiff.open_tuned(tmp_path / "base", same)).changes
    assert {len(run) for run in adjacent.runs([(c.recipe, c.base) for c in shared])} == {1}


def test_a_run_is_no_longer_than_a_tile(tmp_path: Path) -> None:
    sizes: list[tuple[int, ...]] = [(kernels.BLOCK,)] * 6 + [(kernels.BLOCK + 1,)] * 2
    changes = plan_of(tmp_path, torch.float16, torch.float16, sizes).changes
    found = [len(run) for run in adjacent.runs([(c.recipe, c.base) for c in changes])]
    assert found == [TILE // kernels.BLOCK, 2, 1, 1]


def test_what_of_a_run_cannot_be_read_costs_itself(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, torch.bfloat16, torch.bfloat16, [(8, 24)] * 4)
    whole = engine.run(plan)
    assert all(isinstance(one, Moments) for one in whole)
    pieces = [Span(i, change, range(1), 1) for i, change in enumerate(plan.changes)]
    assert [*map(repr, spans.measure_spans(pieces))] == [*map(repr, whole)]
    with (tmp_path / "tuned" / "model.safetensors").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 10)
    lost = spans.measure_spans(pieces)
    assert all(isinstance(one, str) for one in lost)
    assert lost == [spans.measure_span(piece) for piece in pieces]
