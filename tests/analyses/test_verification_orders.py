"""Every legitimate order of operations is accepted; wrong merges are rejected in their words."""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel

import ftdiff
from ftdiff.analyses.verification.strengths import spelled
from ftdiff.errors import BadCall
from tests.analyses.merges import (
    BF16,
    DTYPES,
    F16,
    F32,
    ORDERS,
    WRONG,
    Pair,
    State,
    base_of,
    by_hand,
    by_peft,
    full,
    llama,
    lora,
    scaled,
    tensor_float,
)
from tests.conftest import write_model
from tests.oracle import models

Q = "model.layers.0.self_attn.q_proj.weight"
GOOD = ("merged", "merged_within_rounding")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[float, Pair]]:
    model, folder = llama(), tmp_path_factory.mktemp("pairs")
    yield {change: lora(folder / str(change), model, change) for change in (0.003, 0.03)}


def verify(pair: Pair, dtype: torch.dtype, merged: State) -> ftdiff.Verification:
    return ftdiff.verify(pair.base(dtype), pair.adapter, merged)


# what is right


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("order", sorted(ORDERS))
def test_every_legitimate_order_is_accepted(
    pairs: dict[float, Pair], order: str, dtype: str
) -> None:
    pair = pairs[0.03]
    base = base_of(order, pair, DTYPES[dtype])
    found = ftdiff.verify(base, pair.adapter, ORDERS[order](pair, DTYPES[dtype]))
    assert found.verdict in GOOD, found.sentences
    targets = found.frame[found.frame["form"].notna()]
    if "TensorFloat" not in order:  # all others are replayed, to the bit but for a sum's order
        assert targets["unexplained"].sum() == 0
        assert targets["replay"].nunique() == 1


@pytest.mark.parametrize("dtype", [BF16, F16])
def test_a_product_in_few_bits_of_an_adapter_in_few_bits_is_replayed(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    pair = lora(tmp_path, llama(), 0.03, dtype=dtype)
    for cast in (True, False):
        found = verify(pair, dtype, by_peft(pair, dtype, cast=cast))
        assert found.verdict == "merged", found.sentences


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_convolutions_and_turned_weights_merged_by_peft_are_replayed(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    model = models.gpt2()
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    models.save_adapter(model, config, tmp_path / "a", spread=0.02)
    low = copy.deepcopy(model).to(dtype)
    base = {k: W.clone() for k, W in low.state_dict().items()}
    merged = PeftModel.from_pretrained(low, str(tmp_path / "a")).merge_and_unload().state_dict()
    found = ftdiff.verify(base, tmp_path / "a", merged)
    assert found.verdict == "merged", found.sentences


def test_one_order_is_told_for_the_file_and_the_exceptions_are_named(
    pairs: dict[float, Pair],
) -> None:
    pair = pairs[0.03]
    merged = by_peft(pair, BF16)
    merged[Q] = by_peft(pair, BF16, safe=True)[Q]
    found = verify(pair, BF16, merged)
    assert found.verdict == "merged"
    assert f"ΔW added in BF16 (7 of them; otherwise: {Q})" in found.sentences[0]


def test_what_no_replay_explains_is_told_with_where_it_points(pairs: dict[float, Pair]) -> None:
    pair = pairs[0.03]
    found = verify(pair, BF16, by_hand(pair, pair.base(BF16), tensor_float, BF16))
    left = found.about["left"]
    assert 0 < left["unexplained"] < 0.01 * left["entries"]
    assert abs(left["projection"]) < 4 * left["error"]
    assert "are not the replay's to the bit; along ΔW what is left is" in found.sentences[-1]


# what is wrong


SAID = {
    "×1.002": "merged with 1.002 times the adapter's scale",
    "×1.01": "merged with 1.01 times the adapter's scale",
    "×0.5": "merged with 0.5",
    "another checkpoint (factors 0.5 % apart)": "another checkpoint of it, or more was done",
    "another checkpoint (factors 1 % apart)": "another checkpoint of it, or more was done",
    "another checkpoint (factors 5 % apart)": "another checkpoint of it, or more was done",
    "one corrupted entry": "merged but for single entries, which are not what the merge gives",
    "another base, 5e-4 apart": "no matrix is the base's: is this the right base?",
    "merged twice": "merged twice",
    "one module skipped": "the merge skipped them",
}


#: What is under the limit of change × entries that tests/bench/verify_table.md states.
UNDER = ("×1.002", "BF16", 0.003)


@pytest.mark.parametrize(
    ("mistake", "dtype", "change"),
    sorted({*itertools.product(WRONG, ("F32", "BF16"), (0.003, 0.03))} - {UNDER}),
)
def test_every_wrong_merge_is_rejected_in_its_own_words(
    pairs: dict[float, Pair], mistake: str, dtype: str, change: float
) -> None:
    make, verdicts = WRONG[mistake]
    found = verify(pairs[change], DTYPES[dtype], make(pairs[change], DTYPES[dtype]))
    assert found.verdict in verdicts, found.sentences
    assert SAID[mistake] in found.sentences[1]
    assert found.exit_code == 1


def test_a_scale_that_no_tensor_shows_is_told_by_all_of_them(tmp_path: Path) -> None:
    pair = lora(tmp_path, llama(layers=6), 0.01)
    more = scaled(1.0003)(pair, BF16)
    found = verify(pair, BF16, more)
    assert found.verdict == "other_scale", found.sentences
    assert found.wrong["said"].str.startswith("of all targets together: 1.000").all()
    assert found.wrong["scale"].iloc[0] == pytest.approx(1.0003, abs=1e-4)
    alone = by_hand(pair, pair.base(BF16), full, BF16) | {Q: more[Q]}
    assert verify(pair, BF16, alone).frame.set_index("tensor")["status"][Q] == "rounding"


def test_one_corrupted_entry_is_named_with_its_tensor(pairs: dict[float, Pair]) -> None:
    found = verify(pairs[0.03], BF16, WRONG["one corrupted entry"][0](pairs[0.03], BF16))
    assert list(found.wrong["tensor"]) == [next(iter(pairs[0.03].changes))]
    assert "1 entry is not what the merge gives; the other 6,143 are" in found.wrong["said"].iloc[0]


# several adapters


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pair, Pair]]:
    model, folder = llama(), tmp_path_factory.mktemp("two")
    yield lora(folder / "A", model, 0.03), lora(folder / "B", model, 0.05, alpha=8, seed=2)


def both(two: tuple[Pair, Pair], dtype: torch.dtype, a: float, b: float) -> State:
    """Merge one after the other by PEFT, each with a strength."""
    adapted = PeftModel.from_pretrained(
        copy.deepcopy(two[0].model).to(dtype), str(two[0].adapter), adapter_name="A"
    )
    adapted.load_adapter(str(two[1].adapter), adapter_name="B")
    for module in adapted.modules():
        if isinstance(getattr(module, "scaling", None), dict):
            module.scaling["A"] *= a
            module.scaling["B"] *= b
    merged = adapted.merge_and_unload(adapter_names=["A", "B"])
    return {name: W.detach().clone() for name, W in merged.state_dict().items()}


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_several_adapters_with_strengths_are_verified(
    two: tuple[Pair, Pair], dtype: torch.dtype
) -> None:
    A, B = (pair.adapter for pair in two)
    base, merged = two[0].base(dtype), both(two, dtype, 0.8, 0.5)
    found = ftdiff.verify(base, [(A, 0.8), (B, 0.5)], merged)
    assert found.verdict in GOOD, found.sentences
    assert "base + (A at 0.800, B at 0.500)" in found.sentences[0]
    assert ftdiff.verify(base, [(B, 0.5), (A, 0.8)], merged).ok
    assert ftdiff.verify(base, [(A, 0.8), (B, 0.52)], merged).exit_code == 1
    assert ftdiff.verify(base, (A, 0.8), merged).exit_code == 1


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("strengths", [(0.8, 0.5), (1.0, -0.25)])
def test_strengths_that_are_not_given_are_fitted(
    two: tuple[Pair, Pair], dtype: torch.dtype, strengths: tuple[float, float]
) -> None:
    A, B = (pair.adapter for pair in two)
    base, merged = two[0].base(dtype), both(two, dtype, *strengths)
    for given in ([A, B], [(A, strengths[0]), B]):
        found = ftdiff.verify(base, given, merged)
        assert found.verdict in GOOD, found.sentences
        values = [row["strength"] for row in found.about["strengths"]]
        assert values == pytest.approx(list(strengths), abs=1e-6)
        assert told(found.sentences[0], strengths)
    errors = [row["error"] for row in ftdiff.verify(base, [A, B], merged).about["strengths"]]
    assert all(error is not None and 0 < error < 1e-3 for error in errors)


def told(sentence: str, strengths: tuple[float, float]) -> bool:
    a, b = (f"{strength:.3f}" for strength in strengths)
    return f"A at {a}" in sentence and f"B at {b} ± " in sentence


def test_an_adapter_that_is_not_in_the_file_is_named(two: tuple[Pair, Pair]) -> None:
    A, B = (pair.adapter for pair in two)
    found = ftdiff.verify(two[0].base(F32), [A, B], by_peft(two[0], F32))
    assert (found.verdict, found.exit_code) == ("partly_merged", 1)
    assert "B is not in the file: its strength is 0 within its error" in found.sentences


def test_strengths_of_one_change_twice_cannot_be_fitted(two: tuple[Pair, Pair]) -> None:
    A = two[0].adapter
    with pytest.raises(BadCall, match="cannot be told apart"):
        ftdiff.verify(two[0].base(F32), [A, A], by_peft(two[0], F32))


def test_a_strength_is_split_from_a_path_that_exists_without_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b:2").mkdir()
    assert spelled(f"{tmp_path}/a:0.8") == (f"{tmp_path}/a", 0.8)
    assert spelled(f"{tmp_path}/a:-1e-1") == (f"{tmp_path}/a", -0.1)
    for whole in ("a", "b:2", "a:x", "c:3"):
        assert spelled(f"{tmp_path}/{whole}") == (f"{tmp_path}/{whole}", None)


def test_the_shell_takes_several_adapters(two: tuple[Pair, Pair], tmp_path: Path) -> None:
    A, B = (pair.adapter for pair in two)
    base = write_model(tmp_path / "base", two[0].base(F32))
    merged = write_model(tmp_path / "merged", both(two, F32, 0.8, 0.5))
    command = [sys.executable, "-m", "ftdiff", "verify", base, f"{A}:0.8", B, merged]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "base + (A at 0.800, B at 0.500 ± " in " ".join(done.stdout.split())


def test_an_adapter_beside_the_merged_model_does_not_hide_it(
    pairs: dict[float, Pair], tmp_path: Path
) -> None:
    pair = pairs[0.03]
    folder = write_model(tmp_path / "m", by_peft(pair, F32))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_bytes((pair.adapter / name).read_bytes())
    assert ftdiff.verify(pair.base(F32), pair.adapter, folder).verdict == "merged"


# onto a grid of few bits


NF4 = (-1.0, -0.69619, -0.52507, -0.39492, -0.28444, -0.18477, -0.09105, 0.0,
       0.07958, 0.16093, 0.24611, 0.33792, 0.44071, 0.56262, 0.72296, 1.0)  # fmt: skip


def nf4(W: torch.Tensor) -> torch.Tensor:
    table = torch.tensor(NF4)
    flat = W.float().reshape(-1, 64)
    top = flat.abs().amax(1, keepdim=True)
    return (table[(flat / top).unsqueeze(-1).sub(table).abs().argmin(-1)] * top).reshape(W.shape)


def int8(W: torch.Tensor) -> torch.Tensor:
    top = W.float().abs().amax(1, keepdim=True) / 127
    return (W.float() / top).round() * top


def fp8(W: torch.Tensor) -> torch.Tensor:
    top = W.float().abs().amax(1, keepdim=True) / 448
    return (W.float() / top).to(torch.float8_e4m3fn).float() * top


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize(("scheme", "rounded"), [("NF4", nf4), ("INT8", int8), ("F8_E4M3", fp8)])
def test_a_merge_onto_a_grid_of_the_base_is_said_so(
    pairs: dict[float, Pair],
    dtype: torch.dtype,
    scheme: str,
    rounded: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    pair = pairs[0.03]
    base = pair.base(F32)
    onto = {k: rounded(W).to(dtype) if "_proj" in k else W.to(dtype) for k, W in base.items()}
    found = ftdiff.verify(base, pair.adapter, by_hand(pair, onto, full, dtype))
    if dtype == F32:
        assert found.verdict == "merged_onto_grid", found.sentences
        assert f"merged onto the {scheme} grid of this base" in found.sentences[1]
        assert "though the adapter does not target" not in " ".join(found.sentences)
        assert set(found.wrong["status"]) == {"gridded"}
    untargeted = found.frame.set_index("tensor")["said"]["model.layers.0.mlp.gate_proj.weight"]
    assert untargeted.startswith(f"these are the base's, rounded to {scheme}")


def test_values_near_a_grid_are_not_on_it(pairs: dict[float, Pair]) -> None:
    pair = pairs[0.03]
    name = "model.layers.0.mlp.gate_proj.weight"
    state = by_peft(pair, F32)
    state[name] = nf4(state[name]) * (1 + 0.01 * torch.randn_like(state[name]))
    found = verify(pair, F32, state)
    assert found.verdict == "changed_elsewhere"
    state[name] = nf4(state[name].flip(0))
    assert verify(pair, F32, state).verdict == "changed_elsewhere"
