"""Weights that are the base's, rounded to few bits, are told whatever outliers do to their size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ftdiff
from ftdiff.analyses.kind_of_change import kind_of_change
from ftdiff.comparison import engine, few_bits
from ftdiff.comparison.reasons import FEW_BITS, has_reason, reasons
from ftdiff.formats.quantised.rounding import Rounding
from ftdiff.tensors import Array, FileTensor
from tests.analyses.planted_structures import BF16, Planted, pruned_and_tuned
from tests.cases.situations import ALPHA, RANK, TARGETS, factors, state
from tests.conftest import write_model

State = dict[str, torch.Tensor]
NF4, INT8 = Rounding("NF4", "64"), Rounding("INT8", "row")


def outliers(share: float = 0.03, times: float = 12) -> State:
    """Return the base's weights, some entries of which are many times as large."""
    draw = torch.Generator().manual_seed(2)
    return {
        name: torch.where(torch.rand(W.shape, generator=draw) < share, W * times, W)
        for name, W in state().items()
    }


def linear(name: str) -> bool:
    return name.endswith("_proj.weight")


def rounded(base: State, rounding: Rounding) -> State:
    found = dict(base)
    for name in filter(linear, base):
        Q = rounding.of(base[name].double().numpy())
        found[name] = torch.from_numpy(Q).to(base[name].dtype)
    return found


def added(base: State) -> State:
    """Return weights with the LoRA added."""
    found, lora = dict(base), factors()
    for key, A in lora.items():
        if key.endswith(".lora_A.weight"):
            name = key.removeprefix("base_model.model.").replace(".lora_A", "")
            found[name] = found[name] + ALPHA / RANK * lora[key.replace("lora_A", "lora_B")] @ A
    return found


@pytest.mark.parametrize(
    ("rounding", "share", "times"), [(NF4, 0.03, 12), (INT8, 0.03, 12), (INT8, 0.001, 60)]
)
def test_what_is_only_rounded_is_no_merge_and_was_not_pruned(
    rounding: Rounding, share: float, times: float
) -> None:
    base = outliers(share, times)
    diff = ftdiff.compare(base, rounded(base, rounding))
    names = {*filter(linear, base)}
    assert {*diff.frame["tensor"][has_reason(diff.frame, FEW_BITS)]} == names
    (record,) = reasons(diff.about, FEW_BITS)
    assert (record["scheme"], record["tensors"], record["others"]) == (rounding.scheme, 28, 0)
    assert diff.about["notes"][0].startswith("28 matrices are the base's, rounded to ")
    assert kind_of_change(diff) == ()


def test_a_merge_onto_a_rounded_base_with_outliers_is_told() -> None:
    base = outliers()
    tuned = added(rounded(base, NF4))
    diff = ftdiff.compare(base, tuned)
    trained = {n for n in base if n.removesuffix(".weight").endswith(TARGETS)}
    gridded = {*diff.frame["tensor"][has_reason(diff.frame, FEW_BITS)]}
    assert gridded == {*filter(linear, base)} - trained
    (one,) = [one for one in ftdiff.audit(diff).findings if one.rule == "few-bits-base"]
    assert one.severity == "caution" and one.message.startswith("Merged onto a")
    assert ": 16 untargeted matrices are the base's, rounded to" in one.message
    assert "The 12 matrices that moved beside" in one.message
    assert not any("pruned" in one.message for one in kind_of_change(diff))


def test_a_grid_that_nobody_names_is_no_pruning() -> None:
    planted = Planted(0)

    def asymmetric(W: Array) -> Array:
        blocks = W.astype(np.float64).reshape(-1, 32)
        low, high = blocks.min(axis=1, keepdims=True), blocks.max(axis=1, keepdims=True)
        step = (high - low) / 7
        zero = np.rint(-low / step)
        whole = np.clip(np.rint(blocks / step) + zero, 0, 7) - zero
        return (whole * step).astype(BF16).reshape(W.shape)

    matrices = {*planted.matrices()}
    tuned = {n: asymmetric(W) if n in matrices else W for n, W in planted.base.items()}
    diff = ftdiff.compare(planted.base, tuned)
    zeros = [float((W == 0).mean()) for n, W in tuned.items() if n in matrices]
    assert min(zeros) > 0.1 and not any("pruned" in one.message for one in kind_of_change(diff))
    (kept,) = kind_of_change(ftdiff.compare(planted.base, pruned_and_tuned(planted)))
    assert "pruned, then tuned" in kept.message


def test_rounding_that_is_all_of_a_change_is_not_called_tuning() -> None:
    planted, rounding = Planted(0), Rounding("F8_E4M3", "tensor")
    tuned = dict(planted.base)
    for name in planted.matrices():
        W = planted.base[name].astype(np.float64)
        tuned[name] = rounding.of(W, float(np.abs(W).max())).astype(BF16)
    (one,) = kind_of_change(ftdiff.compare(planted.base, tuned))
    assert one.message.startswith("It is the base rounded to F8_E4M3 with one scale: ")
    assert one.message.endswith("100% of the squared change: no training is seen beside it.")


@pytest.mark.parametrize("factor", [1.002, 1.1, 0.7])
def test_a_multiple_of_a_base_on_a_grid_is_no_rounding(factor: float) -> None:
    signs = torch.randint(-1, 2, (64, 64), generator=torch.Generator().manual_seed(0)).float()
    base = {"model.layers.0.self_attn.q_proj.weight": 0.02 * signs}
    diff = ftdiff.compare(base, {name: factor * W for name, W in base.items()})
    assert not has_reason(diff.frame, FEW_BITS).any()


def test_an_ordinary_fine_tune_costs_one_small_read_of_each_matrix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = torch.Generator().manual_seed(0)
    base = {
        f"layers.{i}.mlp.up_proj.weight": torch.randn(256, 1024, generator=draw) for i in range(4)
    }
    tuned = {n: W + 0.02 * torch.randn(W.shape, generator=draw) for n, W in base.items()}
    sides = [
        write_model(tmp_path / name, {n: W.bfloat16() for n, W in held.items()})
        for name, held in (("base", base), ("tuned", tuned))
    ]
    paired = engine.paired(*sides)
    sums = engine.run(paired.plan)
    seen: list[int] = []
    window = FileTensor.window

    @contextmanager
    def watched(self: FileTensor, start: int, stop: int) -> Iterator[Any]:
        seen.append(stop - start)
        with window(self, start, stop) as lent:
            yield lent

    monkeypatch.setattr(FileTensor, "window", watched)
    assert few_bits.on_grids(paired.plan.changes, sums) == {}
    assert seen == [1024] * 4
