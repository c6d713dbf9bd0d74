"""Merges onto a base that is stored in few bits are told from those onto other values of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ftdiff
from ftdiff.errors import BadCall
from ftdiff.formats import Quantised, open_checkpoint
from tests.analyses.planted import BASE, State, changes, weights, write
from tests.conftest import FIXTURES
from tests.formats.quantised_models import Packer, eight_bits, float8_blocks, four_bits, quantise

LORA = FIXTURES / "lora"
Q = "model.layers.3.self_attn.q_proj.weight"
BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
KINDS: dict[str, Packer] = {
    "NF4": four_bits("nf4"),
    "FP4": four_bits("fp4", nested=False),
    "INT8": eight_bits,
    "F8_E4M3": float8_blocks(128),
}


@pytest.fixture(scope="module")
def nf4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, State]]:
    folder, values = quantise(tmp_path_factory.mktemp("nf4") / "q", KINDS["NF4"])
    yield folder, values


def merged(
    folder: Path, base: State, dtype: torch.dtype, factor: float = 1.0, times: int = 1
) -> Path:
    """Write base + factor · ΔW; each time it is added, the sum is rounded."""
    state = {name: W.to(dtype) for name, W in base.items()}
    for name, dW in changes(LORA).items():
        W = base[name].float()
        for _ in range(times):
            W = (W + factor * dW).to(dtype).float()
        state[name] = W.to(dtype)
    return write(folder, state)


def verify(base: Path, result: Path) -> ftdiff.Verification:
    return ftdiff.verify(base, LORA, result, quantised=True)


def counts(found: ftdiff.Verification) -> dict[str, int]:
    return found.frame["status"].value_counts().to_dict()


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("dtype", [BF16, F32])
def test_a_merge_onto_the_dequantised_base_is_bit_for_bit(
    kind: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    base, values = quantise(tmp_path / "q", KINDS[kind])
    found = verify(base, merged(tmp_path / "m", values, dtype))
    assert (found.verdict, found.exit_code) == ("merged", 0), found.sentences
    assert counts(found) == {"equal": 196, "untouched": 142}
    assert f"the base is {kind} dequantised to " in found.sentences[0]
    assert set(found.frame["base_dtype"]) == {kind, "BF16"}


def test_a_base_that_was_dequantised_to_another_dtype_is_told(
    nf4: tuple[Path, State], tmp_path: Path
) -> None:
    exact = {
        name: torch.from_numpy(
            (t.held("F32") if isinstance(t, Quantised) else t).read().astype("float32")
        )
        for name, t in open_checkpoint(nf4[0]).tensors.items()
    }
    for dtype in (F32, F16):  # a sum in F16 rounds W first: onto F32 it is the same
        held = {name: W.to(dtype) for name, W in exact.items()}
        found = verify(nf4[0], merged(tmp_path / str(dtype), held, dtype))
        assert found.verdict == "merged", found.sentences
        assert "the base is NF4 dequantised to F32" in found.sentences[0]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_merge_onto_the_weights_from_before_is_told_apart(kind: str, tmp_path: Path) -> None:
    base, _ = quantise(tmp_path / "q", KINDS[kind])
    found = verify(base, merged(tmp_path / "m", weights(BASE), BF16))
    assert (found.verdict, found.exit_code) == ("unquantised_base", 1), found.sentences
    assert counts(found) == {"unquantised": 196, "untouched": 142}
    assert "from before the base was quantised" in found.sentences[1]
    assert "of them round to its codes" in found.frame.set_index("tensor")["said"][Q]


def test_skipped_merges_are_told_for_either_base(nf4: tuple[Path, State], tmp_path: Path) -> None:
    for name, state in (("dequantised", nf4[1]), ("before", weights(BASE))):
        found = verify(nf4[0], write(tmp_path / name, state))
        assert found.verdict == "not_merged", found.sentences
        assert counts(found) == {"skipped": 196, "untouched": 142}


def test_another_scale_and_twice_are_named_on_a_dequantised_base(
    nf4: tuple[Path, State], tmp_path: Path
) -> None:
    twice = verify(nf4[0], merged(tmp_path / "t", nf4[1], BF16, times=2))
    assert twice.verdict == "merged_twice"
    scaled = verify(nf4[0], merged(tmp_path / "s", nf4[1], BF16, factor=0.7))
    assert scaled.verdict == "other_scale"
    assert scaled.wrong["scale"].astype(float).between(0.69, 0.71).all()


def test_one_skipped_module_is_named_on_a_dequantised_base(
    nf4: tuple[Path, State], tmp_path: Path
) -> None:
    state = weights(merged(tmp_path / "m", nf4[1], BF16))
    found = verify(nf4[0], write(tmp_path / "n", state | {Q: nf4[1][Q]}))
    assert (found.verdict, list(found.wrong["tensor"])) == ("partly_merged", [Q])


def test_another_change_is_neither(nf4: tuple[Path, State], tmp_path: Path) -> None:
    state = {name: W.clone() for name, W in nf4[1].items()}
    for name, dW in changes(FIXTURES / "rslora").items():
        state[name] = (state[name].float() + dW).to(BF16)
    found = verify(nf4[0], write(tmp_path / "m", state))
    assert counts(found) == {"unexplained": 196, "untouched": 142}, found.sentences
    assert found.verdict == "other_change"


def test_untargeted_weights_may_be_the_dequantised_ones_and_no_others(
    nf4: tuple[Path, State], tmp_path: Path
) -> None:
    """The adapter targets nothing of one module: what lies there is held to the base."""
    from ftdiff.adapters import open_tuned

    whole = open_tuned(LORA, open_checkpoint(nf4[0]))
    rest = {name: recipe for name, recipe in whole.recipes.items() if name != Q}
    adapter = type(whole)(rest, whole.source, whole.kind, whole.config, whole.scalings)
    state = weights(merged(tmp_path / "m", nf4[1], BF16))
    for W, status in ((nf4[1][Q], "untouched"), (weights(BASE)[Q], "unquantised")):
        result = write(tmp_path / status, state | {Q: W})
        found = ftdiff.verify(nf4[0], adapter, result, quantised=True)
        assert found.frame.set_index("tensor")["status"][Q] == status
    wrong = write(tmp_path / "wrong", state | {Q: weights(BASE)[Q].flip(0)})
    found = ftdiff.verify(nf4[0], adapter, wrong, quantised=True)
    assert found.frame.set_index("tensor")["status"][Q] == "changed"


def test_a_quantised_base_is_judged_on_request_alone(
    nf4: tuple[Path, State], tmp_path: Path
) -> None:
    good = merged(tmp_path / "m", nf4[1], BF16)
    found = ftdiff.verify(nf4[0], LORA, good)
    assert (found.verdict, found.exit_code) == ("unreadable", 2)
    assert "say so: --quantised" in found.frame.set_index("tensor")["said"][Q]
    with pytest.raises(BadCall, match="nothing in it is stored quantised"):
        ftdiff.verify(BASE, LORA, good, quantised=True)
    again, _ = quantise(tmp_path / "again", KINDS["NF4"])
    requantised = verify(nf4[0], again)
    assert requantised.verdict == "unreadable"
    assert "the merged file stores it as NF4" in requantised.frame.set_index("tensor")["said"][Q]


def test_a_lying_tensor_costs_its_row_alone(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base, values = quantise(tmp_path / "q", KINDS["NF4"])
    state = load_file(base / "model.safetensors")
    state[f"{Q}.absmax"] = state[f"{Q}.absmax"][:-1].clone()
    save_file(state, base / "model.safetensors")
    found = verify(base, merged(tmp_path / "m", values, BF16))
    assert counts(found) == {"equal": 195, "untouched": 142, "unreadable": 1}
    assert found.exit_code == 2
    assert "absmax is 20, expected 21" in found.frame.set_index("tensor")["said"][Q]


def test_the_shell_verifies_a_quantised_base(nf4: tuple[Path, State], tmp_path: Path) -> None:
    good = merged(tmp_path / "m", nf4[1], BF16)
    command = [sys.executable, "-m", "ftdiff", "verify", *map(str, (nf4[0], LORA, good))]
    found = subprocess.run([*command, "--quantised"], capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stderr) == (0, "")
    assert "the base is NF4 dequantised to BF16" in " ".join(found.stdout.split())
