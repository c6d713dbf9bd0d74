from __future__ import annotations

import json
import math
import multiprocessing
import pickle
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import IA3Config, LoraConfig, get_peft_model
from transformers import Qwen2ForCausalLM

import ftdiff
from ftdiff.adapters import open_tuned
from ftdiff.analyses.verification.claims import claims
from ftdiff.analyses.verification.replay import Replay, replays
from ftdiff.analyses.verification.stored import RUN
from ftdiff.analyses.verification.verdicts import judge
from ftdiff.errors import BadCall, Mismatch
from ftdiff.formats import open_checkpoint
from ftdiff.formats.quantised import grids
from ftdiff.tensors import ArrayTensor
from tests.analyses.planted import (
    BASE,
    adapter_like,
    by_hand,
    by_peft,
    changes,
    rescale,
    weights,
    write,
)
from tests.conftest import FIXTURES, llama

LORA, RSLORA = FIXTURES / "lora", FIXTURES / "rslora"
BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
Q = "model.layers.3.self_attn.q_proj.weight"
NORM = "model.layers.5.input_layernorm.weight"


def planted(folder: Path, **changed: torch.Tensor | None) -> Path:
    """Return the committed merge with some tensors replaced; None leaves one out."""
    state: dict[str, Any] = weights(FIXTURES / "merged") | changed
    return write(folder, {name: tensor for name, tensor in state.items() if tensor is not None})


def statuses(found: ftdiff.Verification) -> dict[str, int]:
    return found.frame["status"].value_counts().to_dict()


def row(found: ftdiff.Verification, name: str) -> pd.Series[Any]:
    return found.frame.set_index("tensor").loc[name]


# what is right


@pytest.mark.parametrize("name", ["merged", "merged_f32"])
def test_the_committed_merges_are_bit_for_bit(name: str) -> None:
    found = ftdiff.verify(BASE, LORA, FIXTURES / name)
    assert (found.verdict, found.ok, found.exit_code) == ("merged", True, 0)
    assert statuses(found) == {"equal": 196, "untouched": 142}
    assert len(found.wrong) == 0


@pytest.mark.parametrize(
    ("dtype", "safe", "said"),
    [
        (BF16, False, "ΔW added in BF16"),
        (BF16, True, "ΔW rounded to BF16, then added in BF16"),
        (F16, True, "ΔW rounded to F16, then added in F16"),
        (F32, False, "ΔW added in F32"),
    ],
)
def test_whatever_way_peft_merges_is_replayed(
    tmp_path: Path, dtype: torch.dtype, safe: bool, said: str
) -> None:
    found = ftdiff.verify(BASE, RSLORA, by_peft(RSLORA, tmp_path / "m", dtype, safe=safe))
    assert found.ok
    assert set(statuses(found)) <= {"equal", "rounding", "untouched"}
    targets = found.frame[found.frame["form"].notna()]
    assert set(targets["replay"]) == {said}
    assert (targets["ulps"] <= 2).all()
    if dtype != F32:  # ties of another order of factors alone
        assert (targets["unequal"] <= 2).all()


def test_a_merge_in_bf16_that_is_stored_as_f32_is_replayed(tmp_path: Path) -> None:
    state = {k: v.to(F32) for k, v in weights(FIXTURES / "merged").items()}
    found = ftdiff.verify(BASE, LORA, write(tmp_path / "m", state))
    assert found.verdict == "merged"
    assert row(found, Q)["replay"] == "ΔW added in BF16, stored as F32"


def test_a_product_made_in_16_bits_is_replayed(tmp_path: Path) -> None:
    state = {name: W.to(F32) for name, W in weights(BASE).items()}
    for name, dW in changes(LORA).items():
        state[name] = state[name] + dW.to(BF16)
    found = ftdiff.verify(BASE, LORA, write(tmp_path / "m", state))
    assert found.verdict == "merged"
    assert row(found, Q)["said"] == "bit for bit: ΔW rounded to BF16, then added in F32"


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(r=4, target_modules=["q_proj", "down_proj"], use_dora=True),
        LoraConfig(r=4, target_modules=["v_proj"], modules_to_save=["embed_tokens", "norm"]),
        IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    ],
    ids=["dora", "modules_to_save", "ia3"],
)
@pytest.mark.filterwarnings("ignore:.*tie.*:UserWarning")
def test_other_kinds_of_adapters_merged_by_peft_are_verified(tmp_path: Path, config: Any) -> None:
    torch.manual_seed(0)
    model = get_peft_model(Qwen2ForCausalLM.from_pretrained(BASE, dtype=F32), config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.02 * torch.randn_like(weight)
    model.save_pretrained(tmp_path / "a")
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path / "m")
    found = ftdiff.verify(BASE, tmp_path / "a", tmp_path / "m")
    assert found.verdict in ("merged", "merged_within_rounding"), found.sentences
    assert ftdiff.verify(BASE, tmp_path / "a", BASE).verdict == "not_merged"


# what is wrong, and named


def test_a_base_that_nothing_was_merged_into_is_not_merged() -> None:
    found = ftdiff.verify(BASE, LORA, BASE)
    assert (found.verdict, found.exit_code) == ("not_merged", 1)
    assert statuses(found) == {"skipped": 196, "untouched": 142}


def test_a_module_that_the_merge_skipped_is_named(tmp_path: Path) -> None:
    found = ftdiff.verify(BASE, LORA, planted(tmp_path / "m", **{Q: weights(BASE)[Q]}))
    assert found.verdict == "partly_merged"
    assert list(found.wrong["tensor"]) == [Q]
    assert row(found, Q)["status"] == "skipped"
    assert f"1 × the base's values: the merge skipped them ({Q})" in found.sentences


@pytest.mark.parametrize("dtype", [BF16, F32])
def test_a_forgotten_root_of_the_rank_is_told_by_the_ranks(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    merged = by_peft(RSLORA, tmp_path / "m", dtype, edit=rescale(lambda a, r: a / r))
    found = ftdiff.verify(BASE, RSLORA, merged)
    assert found.verdict == "other_scale"
    assert statuses(found) == {"scaled": 196, "untouched": 142}
    assert re.match(
        "196 × merged with 0.353[0-9] to 0.70[78][0-9]? times the adapter's scale: "
        r"looks like α/r where the adapter says α/√r \(",
        found.sentences[1],
    )
    for name, rank in ((Q, 4), (Q.replace("q_proj", "k_proj"), 2)):
        assert row(found, name)["scale"] == pytest.approx(1 / math.sqrt(rank), rel=0.01)


def test_a_root_that_the_adapter_does_not_have_is_told_from_twice(tmp_path: Path) -> None:
    found = ftdiff.verify(BASE, LORA, by_hand(LORA, tmp_path / "m", BF16, factor=2.0))
    assert found.verdict == "other_scale"  # r = 4: √r is 2
    assert "α/√r where the adapter says α/r" in found.sentences[1]
    assert "merged twice" not in found.sentences[1]


@pytest.mark.parametrize("adapter", [LORA, RSLORA])
@pytest.mark.parametrize("dtype", [BF16, F32])
def test_merged_twice_is_told_from_twice_the_scale(
    tmp_path: Path, adapter: Path, dtype: torch.dtype
) -> None:
    found = ftdiff.verify(BASE, adapter, by_hand(adapter, tmp_path / "m", dtype, times=2))
    assert found.verdict == "merged_twice"
    assert "196 × merged twice" in found.sentences[1]
    assert len(found.sentences) == 2


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (-1.0, "looks like subtracted instead of added"),
        (4 / 6 * 2, None),
        (0.7, None),
    ],
)
def test_any_other_scale_is_estimated(tmp_path: Path, factor: float, said: str | None) -> None:
    found = ftdiff.verify(BASE, LORA, by_hand(LORA, tmp_path / "m", BF16, factor=factor))
    assert found.verdict == "other_scale"
    scales = found.wrong["scale"].astype(float)
    assert scales.to_numpy() == pytest.approx(np.full(196, factor), rel=0.02)
    if said is None:
        assert "looks like" not in found.sentences[1]
    else:
        assert said in found.sentences[1]


def test_a_scale_that_was_left_out_is_told_where_alphas_differ(tmp_path: Path) -> None:
    merged = by_peft(RSLORA, tmp_path / "m", BF16, edit=rescale(lambda a, r: 1.0))
    found = ftdiff.verify(BASE, RSLORA, merged)
    assert found.verdict == "other_scale"
    assert "looks like 1: the scale was left out (" in found.sentences[1]


def test_a_change_where_nothing_is_targeted_is_named(tmp_path: Path) -> None:
    moved = weights(BASE)[NORM].clone()
    moved[3] += 2**-8 * moved[3].abs() * 2
    found = ftdiff.verify(BASE, LORA, planted(tmp_path / "m", **{NORM: moved}))
    assert found.verdict == "changed_elsewhere"
    assert list(found.wrong["tensor"]) == [NORM]
    assert row(found, NORM)["unequal"] == 1
    said = "1 of 36 entries is not the base's, though no adapter targets it"
    assert row(found, NORM)["said"] == said
    every = planted(tmp_path / "n", **{NORM: 2 * weights(BASE)[NORM]})
    said = row(ftdiff.verify(BASE, LORA, every), NORM)["said"]
    assert said.startswith("all 36 of its entries are not the base's")


def test_a_saved_module_that_was_left_out_is_named(tmp_path: Path) -> None:
    embedding = "model.embed_tokens.weight"
    saved = weights(BASE)[embedding] + 0.01
    adapter = adapter_like(
        *(LORA, tmp_path / "a"),
        weights(LORA) | {f"base_model.model.{embedding}": saved},
        modules_to_save=["embed_tokens"],
    )
    left_out = ftdiff.verify(BASE, adapter, FIXTURES / "merged")
    assert left_out.verdict == "replacement_missing"
    assert list(left_out.wrong["tensor"]) == [embedding]
    assert ftdiff.verify(BASE, adapter, planted(tmp_path / "m", **{embedding: saved})).ok
    other = ftdiff.verify(BASE, adapter, planted(tmp_path / "n", **{embedding: saved + 1}))
    assert row(other, embedding)["status"] == "unexplained"


def test_another_adapter_and_another_base_are_told_apart() -> None:
    other = ftdiff.verify(BASE, RSLORA, FIXTURES / "merged")
    assert other.verdict == "other_change"
    assert statuses(other) == {"unexplained": 196, "untouched": 142}
    assert abs(other.wrong["cosine"].astype(float)).max() < 0.3
    base = ftdiff.verify(FIXTURES / "full", LORA, FIXTURES / "merged")
    assert base.verdict == "other_base"
    assert "is this the right base?" in base.sentences[1]


def test_tensors_of_one_side_are_named(tmp_path: Path) -> None:
    gone = ftdiff.verify(BASE, LORA, planted(tmp_path / "a", **{Q: None}))
    assert (gone.verdict, row(gone, Q)["status"]) == ("other_tensors", "missing")
    more = ftdiff.verify(BASE, LORA, planted(tmp_path / "b", extra=torch.ones(3)))
    assert (more.verdict, row(more, "extra")["status"]) == ("other_tensors", "added")
    cut = ftdiff.verify(BASE, LORA, planted(tmp_path / "c", **{NORM: torch.ones(35)}))
    assert (cut.verdict, row(cut, NORM)["status"]) == ("other_tensors", "reshaped")


def test_several_faults_are_all_named(tmp_path: Path) -> None:
    state = weights(BASE)
    found = ftdiff.verify(
        BASE, LORA, planted(tmp_path / "m", **{Q: state[Q], NORM: state[NORM] * 2})
    )
    assert found.verdict == "several"
    assert set(found.wrong["tensor"]) == {Q, NORM}
    assert len(found.sentences) == 3


def test_what_the_adapter_holds_for_nothing_is_not_passed_over(tmp_path: Path) -> None:
    state = weights(LORA)
    saved = adapter_like(LORA, tmp_path / "a", state | {"stray.thing": torch.ones(2)})
    found = ftdiff.verify(BASE, saved, FIXTURES / "merged")
    assert (found.verdict, [*found.about["unmatched"]]) == ("unmatched", ["stray.thing"])
    beyond = "base_model.model.model.layers.99.self_attn.q_proj.lora_"
    pair = {
        f"{beyond}{side}.weight": state[f"{beyond.replace('99', '3')}{side}.weight"].clone()
        for side in "AB"
    }
    grown = adapter_like(LORA, tmp_path / "b", state | pair)
    found = ftdiff.verify(BASE, grown, FIXTURES / "merged")
    assert (found.verdict, found.exit_code) == ("unmatched", 1)
    assert "layers.99.self_attn.q_proj" in found.sentences[1]


@pytest.mark.parametrize("steps", [2, 3, 40])  # one may be a product in 16 bits
def test_one_entry_two_units_away_is_corrupted_and_not_rounding(tmp_path: Path, steps: int) -> None:
    W = weights(FIXTURES / "merged")[Q].clone()
    place = np.unravel_index(int(W.abs().argmax()), W.shape)
    sign = -1 if math.log2(abs(float(W[place]))) % 1 > 0.5 else 1  # away from the next power of 2
    W.view(torch.int16)[place] += sign * steps
    found = ftdiff.verify(BASE, LORA, planted(tmp_path / "m", **{Q: W}))
    assert (found.verdict, row(found, Q)["status"]) == (("corrupted",) * 2)
    assert row(found, Q)["ulps"] == pytest.approx(steps)
    assert (row(found, Q)["unequal"], row(found, Q)["unexplained"]) == (1, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", [(slice(None), slice(None)), (0, 0), (3, slice(None))])
def test_a_matrix_that_is_not_finite_is_on_no_grid_and_warns_of_nothing(
    value: float, where: Any
) -> None:
    W = np.random.default_rng(1).normal(size=(64, 64)).astype("f4")
    broken = W.copy()
    broken[where] = value
    assert grids.find(ArrayTensor(W), ArrayTensor(broken)) is None


def test_a_value_that_is_not_finite_is_not_within_rounding(tmp_path: Path) -> None:
    W = weights(FIXTURES / "merged")[Q].clone()
    W[0, 0] = float("nan")
    found = ftdiff.verify(BASE, LORA, planted(tmp_path / "m", **{Q: W}))
    assert found.verdict == "corrupted"
    assert "(1 finite on one side alone)" in row(found, Q)["said"]


def test_a_tied_head_is_held_to_the_embedding(tmp_path: Path) -> None:
    embedding = weights(FIXTURES / "merged")["model.embed_tokens.weight"]
    tied = planted(tmp_path / "a", **{"lm_head.weight": embedding.clone()})
    assert ftdiff.verify(BASE, LORA, tied).verdict == "merged"
    apart = planted(tmp_path / "b", **{"lm_head.weight": embedding + 1})
    found = ftdiff.verify(BASE, LORA, apart)
    assert found.verdict == "changed_elsewhere"
    assert list(found.wrong["tensor"]) == ["lm_head.weight"]


def test_a_tied_head_goes_with_an_embedding_that_was_trained(tmp_path: Path) -> None:
    embedding = "model.embed_tokens.weight"
    saved = weights(BASE)[embedding] + 0.01
    state = weights(LORA) | {f"base_model.model.{embedding}": saved}
    adapter = adapter_like(LORA, tmp_path / "a", state, modules_to_save=["embed_tokens"])
    heads = {"lm_head.weight": saved.clone(), embedding: saved}
    assert ftdiff.verify(BASE, adapter, planted(tmp_path / "m", **heads)).ok
    heads["lm_head.weight"] = weights(BASE)[embedding]
    found = ftdiff.verify(BASE, adapter, planted(tmp_path / "n", **heads))
    assert list(found.wrong["tensor"]) == ["lm_head.weight"]


def test_keys_without_a_recipe_forbid_a_good_verdict() -> None:
    adapter = open_tuned(LORA, open_checkpoint(BASE))
    assert ftdiff.verify(BASE, adapter, FIXTURES / "merged").ok
    left = replace(adapter, unmatched={"stray": "not a part of any adapter"})
    assert ftdiff.verify(BASE, left, FIXTURES / "merged").verdict == "unmatched"


def test_one_nan_is_as_good_as_another(tmp_path: Path) -> None:
    sides = []
    for folder, payload in (("b", 0x7FC0), ("m", 0x7FC1)):
        state = weights(BASE if folder == "b" else FIXTURES / "merged")
        state[NORM] = state[NORM].clone()
        state[NORM].view(torch.int16)[0] = payload
        sides.append(write(tmp_path / folder, state))
    assert row(ftdiff.verify(sides[0], LORA, sides[1]), NORM)["status"] == "untouched"


# what the numbers cannot tell


def quieter(folder: Path, by: float) -> Path:
    state = {k: v * by if "lora_B" in k else v for k, v in weights(LORA).items()}
    return adapter_like(LORA, folder, state)


def test_a_change_below_the_rounding_is_inconclusive(tmp_path: Path) -> None:
    found = ftdiff.verify(BASE, quieter(tmp_path / "a", 1e-9), BASE)
    assert (found.verdict, found.exit_code) == ("inconclusive", 1)
    assert statuses(found) == {"inconclusive": 196, "untouched": 142}
    assert "below the rounding of BF16" in row(found, Q)["said"]


def test_an_adapter_of_zeros_has_nothing_to_merge(tmp_path: Path) -> None:
    found = ftdiff.verify(BASE, quieter(tmp_path / "a", 0.0), BASE)
    assert (found.verdict, found.exit_code) == ("inconclusive", 1)
    assert statuses(found) == {"dead": 196, "untouched": 142}
    assert found.sentences[0].startswith("nothing to merge: ΔW of all 196 targets is exactly zero;")
    assert "rounding" not in " ".join(found.sentences)
    assert row(found, Q)["said"] == "nothing to merge: ΔW is exactly zero"


def test_one_dead_target_is_named_beside_a_good_merge(tmp_path: Path) -> None:
    B = "base_model.model." + Q.replace(".weight", ".lora_B.weight")
    state = weights(LORA)
    adapter = adapter_like(LORA, tmp_path / "a", state | {B: 0 * state[B]})
    found = ftdiff.verify(BASE, adapter, planted(tmp_path / "m", **{Q: weights(BASE)[Q]}))
    assert found.ok and row(found, Q)["status"] == "dead"
    assert found.sentences[-1].startswith("1 × nothing to merge") and Q in found.sentences[-1]


@pytest.mark.parametrize("by", [0.01, 0.03])
def test_a_change_that_rounding_mostly_swallows_is_still_judged(tmp_path: Path, by: float) -> None:
    adapter = quieter(tmp_path / "a", by)
    good = ftdiff.verify(BASE, adapter, by_hand(adapter, tmp_path / "good", BF16))
    assert good.verdict == "merged"
    moved = good.frame[good.frame["form"].notna()]
    assert moved["due"].sum() < 0.75 * moved["numel"].sum()
    assert ftdiff.verify(BASE, adapter, BASE).verdict == "not_merged"
    twice = ftdiff.verify(BASE, adapter, by_hand(adapter, tmp_path / "t", BF16, factor=3.0))
    scales = twice.wrong["scale"].dropna().astype(float)
    assert twice.verdict in ("other_scale", "several")
    assert scales.median() == pytest.approx(3.0, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(
    factor=st.floats(-3, 3).filter(lambda c: abs(c) > 0.1 and abs(c - 1) > 0.1),
    size=st.sampled_from([0.003, 0.03, 0.3, 3.0]),
    dtype=st.sampled_from([BF16, F16, F32]),
)
def test_the_scale_is_estimated_within_its_error(
    factor: float, size: float, dtype: torch.dtype
) -> None:
    draw = torch.Generator().manual_seed(11)
    W = torch.randn(96, 64, generator=draw).to(dtype)
    A, B = torch.randn(4, 64, generator=draw), size / 4 * torch.randn(96, 4, generator=draw)
    merged = (W.float() + factor * (B @ A)).to(dtype)
    found = _one(W, A, B, merged)
    assert found["status"] in ("scaled", "twice"), found
    error = abs(found["scale"] - factor)
    assert error <= 4 * found["scale_error"] + 0.01 * abs(factor)


@settings(max_examples=40, deadline=None)
@given(
    size=st.sampled_from([0.003, 0.03, 0.3, 3.0]),
    dtype=st.sampled_from([BF16, F16, F32]),
    rounded=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_good_merge_of_any_size_holds(
    size: float, dtype: torch.dtype, rounded: bool, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    W = torch.randn(96, 64, generator=draw).to(dtype)
    A, B = torch.randn(4, 64, generator=draw), size / 4 * torch.randn(96, 4, generator=draw)
    dW = (B @ A).to(dtype) if rounded else B @ A
    found = _one(W, A, B, (W.float() + dW.float()).to(dtype))
    assert found["status"] in ("equal", "rounding"), found


def _one(W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, merged: torch.Tensor) -> dict[str, Any]:
    from ftdiff.deltas.recipes import Added, Product, Tuned

    name = "model.layers.0.mlp.up_proj.weight"
    recipe = Added(tuple(W.shape), Product(ArrayTensor(A.numpy()), ArrayTensor(B.numpy()), 1.0))
    base, whole = open_checkpoint({name: W}), open_checkpoint({name: merged})
    (claim,) = claims(base, Tuned({name: recipe}, "made", "lora"), whole)
    return judge(claim)


def test_a_scale_that_no_single_entry_shows_is_told_by_all_of_them() -> None:
    draw = torch.Generator().manual_seed(5)
    W = (1 + 0.9 * torch.rand(96, 64, generator=draw)).to(BF16)
    A, B = torch.randn(4, 64, generator=draw), 0.001 * torch.randn(96, 4, generator=draw)
    right = _one(W, A, B, (W.float() + (B @ A).to(BF16).float()).to(BF16))
    assert right["status"] in ("equal", "rounding")
    found = _one(W, A, B, (W.float() + 1.5 * (B @ A)).to(BF16))
    assert found["ulps"] <= 2
    assert found["status"] == "scaled"
    assert found["scale"] == pytest.approx(1.5, rel=0.05)


def test_a_half_precision_base_merged_in_float32_is_replayed_into_another_half() -> None:
    draw = torch.Generator().manual_seed(6)
    W = torch.randn(96, 64, generator=draw).to(F16)
    A, B = torch.randn(4, 64, generator=draw), 0.1 * torch.randn(96, 4, generator=draw)
    found = _one(W, A, B, (W.float() + B @ A).to(BF16))
    assert (found["status"], found["replay"]) == ("equal", "ΔW added in F32, stored as BF16")


def test_an_expert_that_a_merge_dropped_is_a_partial_merge() -> None:
    draw = torch.Generator().manual_seed(2)
    W = torch.randn(96, 64, generator=draw).to(BF16)
    A, B = torch.randn(4, 64, generator=draw), 0.1 * torch.randn(96, 4, generator=draw)
    merged = (W.float() + B @ A).to(BF16)
    merged[48:] = W[48:]
    found = _one(W, A, B, merged)
    assert found["status"] == "partial"
    left, due = re.findall(r"[\d,]+", found["said"])
    assert found["said"] == f"merged but for {left} of the {due} entries that ΔW moves: the base's"
    assert int(left.replace(",", "")) / int(due.replace(",", "")) == pytest.approx(0.5, abs=0.01)


# how it is done


@pytest.mark.parametrize("base", [BF16, F16, F32])
@pytest.mark.parametrize("stored", [BF16, F16, F32])
def test_every_replay_is_torchs_arithmetic(base: torch.dtype, stored: torch.dtype) -> None:
    codes = {BF16: "BF16", F16: "F16", F32: "F32"}
    names = {code: dtype for dtype, code in codes.items()}
    draw = torch.Generator().manual_seed(4)
    W = torch.randn(5000, generator=draw).to(base)
    dW = 0.1 * torch.randn(5000, generator=draw)
    for way in replays(codes[base], codes[stored]):
        working = names[way.working]
        total = W.clone().to(working)
        total += dW.to(working) if way.formed.rounded else dW
        expected = total.to(stored).float().numpy()
        found = way.expected(W.float().numpy(), dW.numpy()).astype(np.float32)
        np.testing.assert_array_equal(found, expected, err_msg=way.said)


def test_a_replay_of_two_merges_rounds_in_between() -> None:
    once, twice = Replay("BF16", "BF16"), Replay("BF16", "BF16", times=2)
    W, dW = np.float32([1.0]), np.float32([2**-8 * 0.99])  # under half a spacing
    assert twice.expected(W, dW).astype(float) == 1.0
    assert once.expected(W, 2 * dW).astype(float) == 1.0 + 2**-7


def test_threads_processes_and_none_give_the_same_rows() -> None:
    alone = ftdiff.verify(BASE, RSLORA, FIXTURES / "merged_f32").frame
    with ThreadPoolExecutor(3) as threads:
        found = ftdiff.verify(BASE, RSLORA, FIXTURES / "merged_f32", threads)
        pd.testing.assert_frame_equal(found.frame, alone)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as processes:
        found = ftdiff.verify(BASE, RSLORA, FIXTURES / "merged_f32", processes)
        pd.testing.assert_frame_equal(found.frame, alone)


def test_a_claim_pickles_under_two_kilobytes() -> None:
    base, merged = open_checkpoint(BASE), open_checkpoint(FIXTURES / "merged")
    for claim in claims(base, open_tuned(LORA, base), merged):
        assert len(pickle.dumps(claim)) < 2048


@dataclass(frozen=True, eq=False)
class Watched(ArrayTensor):
    """A tensor that remembers the longest run that was asked of it."""

    longest: list[int]

    def window(self, start: int, stop: int) -> Any:
        self.longest[0] = max(self.longest[0], stop - start)
        return super().window(start, stop)

    def read(self, rows: slice = slice(None)) -> Any:
        raise AssertionError("the whole of a weight was read")


@pytest.mark.parametrize("fault", [1.0, 2.0])
def test_weights_are_read_a_tile_at_a_time(fault: float) -> None:
    from ftdiff.deltas.recipes import Added, Product, Tuned
    from ftdiff.formats import Checkpoint

    draw = torch.Generator().manual_seed(1)
    W = torch.randn(900, 1000, generator=draw)
    A, B = torch.randn(4, 1000, generator=draw), torch.randn(900, 4, generator=draw)
    name, longest = "model.layers.0.mlp.up_proj.weight", [0]
    recipe = Added((900, 1000), Product(ArrayTensor(A.numpy()), ArrayTensor(B.numpy()), 1.0))
    sides = [
        Checkpoint({name: Watched(x.numpy(), longest)}, "made", "memory")
        for x in (W, W + fault * (B @ A))
    ]
    (claim,) = claims(sides[0], Tuned({name: recipe}, "made", "lora"), sides[1])
    assert judge(claim)["status"] in (("scaled",) if fault == 2.0 else ("equal", "rounding"))
    assert 0 < longest[0] <= RUN


def test_progress_ends_at_all_of_it() -> None:
    seen: list[tuple[int, int]] = []
    ftdiff.verify(BASE, LORA, FIXTURES / "merged", progress=lambda a, b: seen.append((a, b)))
    assert seen[-1][0] == seen[-1][1] > 0


# what cannot be verified at all


def test_checkpoints_and_adapters_in_each_others_place_are_refused() -> None:
    with pytest.raises(BadCall, match="a full checkpoint, not an adapter"):
        ftdiff.verify(BASE, FIXTURES / "full", FIXTURES / "merged")
    with pytest.raises(BadCall, match="a lora adapter, not a merged model"):
        ftdiff.verify(BASE, LORA, LORA)
    with pytest.raises(Mismatch, match="is this the merged model"):
        ftdiff.verify(BASE, LORA, {"some.thing": np.ones((2, 2), np.float32)})


def test_a_target_that_is_stored_quantised_is_refused_plainly(tmp_path: Path) -> None:
    state = weights(BASE)
    state[Q] = (state[Q].float() * 100).to(torch.int8)
    found = ftdiff.verify(write(tmp_path / "b", state), LORA, FIXTURES / "merged")
    assert (found.verdict, found.exit_code) == ("unreadable", 2)
    assert "stores it as I8, and there is no dequantiser for it" in row(found, Q)["said"]


def test_half_a_module_is_unreadable_and_the_rest_is_judged(tmp_path: Path) -> None:
    state = weights(LORA)
    state.pop("base_model.model.model.layers.3.self_attn.q_proj.lora_B.weight")
    found = ftdiff.verify(BASE, adapter_like(LORA, tmp_path / "a", state), FIXTURES / "merged")
    assert (found.verdict, found.exit_code) == ("unreadable", 2)
    assert statuses(found) == {"equal": 195, "untouched": 142, "unreadable": 1}


# the shell


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ftdiff", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_shell_says_the_verdict_and_exits_with_it(tmp_path: Path) -> None:
    good = run("verify", BASE, LORA, FIXTURES / "merged")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("merged: ")
    assert "196 of 196 targets are base + adapter (196 bit for bit)" in good.stdout
    skipped = run("verify", BASE, LORA, planted(tmp_path / "m", **{Q: weights(BASE)[Q]}))
    assert skipped.returncode == 1
    assert "merged in part: " in skipped.stdout
    assert Q in skipped.stdout
    wrong = run("verify", BASE, LORA, tmp_path / "nowhere")
    assert wrong.returncode == 2
    assert wrong.stderr.endswith("nowhere: no such file or folder\n")


def test_the_rows_paste_from_the_shell() -> None:
    document = json.loads(run("verify", BASE, LORA, FIXTURES / "merged", "--format", "json").stdout)
    assert document["verdict"] == "merged"
    assert len(document["tensors"]) == 338
    lines = run("verify", BASE, LORA, FIXTURES / "merged", "--format", "csv").stdout.splitlines()
    assert len(lines) == 339


def test_a_model_in_memory_is_verified() -> None:
    state = llama()
    assert ftdiff.verify(BASE, LORA, weights(FIXTURES / "merged")).verdict == "merged"
    with pytest.raises(Mismatch):
        ftdiff.verify(state, LORA, state)
