"""What was guessed while pairing is a line each, and `strict` refuses it with those lines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import ftdiff
from ftdiff.comparison import batch
from ftdiff.errors import Mismatch
from tests.cases import situations
from tests.conftest import write_model

State = dict[str, torch.Tensor]


def wrapped(state: State) -> State:
    return {f"policy.{name}": W for name, W in state.items()}


def fused(state: State) -> State:
    found = {n: W for n, W in state.items() if not any(x in n for x in ("gate_proj", "up_proj"))}
    for layer in range(situations.LAYERS):
        at = f"model.layers.{layer}.mlp."
        parts = [state[f"{at}{word}.weight"] for word in ("gate_proj", "up_proj")]
        found[f"{at}gate_up_proj.weight"] = torch.cat(parts)
    return found


def stacked(state: State) -> State:
    found = {n: W for n, W in state.items() if ".mlp." not in n}
    for layer in range(situations.LAYERS):
        at = f"model.layers.{layer}.mlp."
        gate, up = (state[f"{at}{word}.weight"] for word in ("gate_proj", "up_proj"))
        found[f"{at}experts.gate_up_proj"] = torch.stack([torch.cat([gate, up])] * 2)
    return found


def apart(state: State) -> State:
    found = {n: W for n, W in state.items() if ".mlp." not in n}
    for layer in range(situations.LAYERS):
        at = f"model.layers.{layer}.mlp."
        for e in range(2):
            for word in ("gate_proj", "up_proj"):
                found[f"{at}experts.{e}.{word}.weight"] = state[f"{at}{word}.weight"]
    return found


def swapped(state: State) -> State:
    return {
        name.replace(".layers.0.", ".layers.9.")
        .replace(".layers.1.", ".layers.0.")
        .replace(".9.", ".1."): W
        for name, W in state.items()
    }


def other_rows(state: State) -> State:
    order = torch.arange(situations.VOCAB - 1, -1, -1)
    return {n: W[order] if "embed" in n or "lm_head" in n else W for n, W in state.items()}


def same(state: State) -> State:
    return state


GUESSED: dict[str, tuple[Callable[[State], State], Callable[[State], State], str]] = {
    "names-matched": (same, wrapped, "by the part that both have"),
    "joined": (same, fused, "compared as one"),
    "experts-apart": (stacked, apart, "expert by expert"),
    "layers": (same, swapped, "stand elsewhere"),
    "reordered-rows": (same, other_rows, "stand in another order"),
}


def write(folder: Path, state: State) -> Path:
    state = {name: W.clone() for name, W in state.items()}
    return write_model(folder, state, config=dict(situations.CONFIG))


@pytest.mark.parametrize("code", GUESSED)
def test_a_guess_is_a_line_and_strict_refuses_it(code: str, tmp_path: Path) -> None:
    of_base, of_tuned, words = GUESSED[code]
    state = situations.state()
    base, tuned = (
        write(tmp_path / name, make(state)) for name, make in (("a", of_base), ("b", of_tuned))
    )
    diff = ftdiff.compare(base, tuned)
    assert code in [one["code"] for one in diff.about["reasons"]]
    (line,) = (note for note in diff.about["notes"] if words in note)
    with pytest.raises(Mismatch, match="strict, and pairing took") as refused:
        ftdiff.compare(base, tuned, strict=True)
    assert line in str(refused.value)
    (lost,) = batch.compare_each(base, [tuned], strict=True)
    assert isinstance(lost, Mismatch)


def test_the_command_exits_with_2_and_one_line(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    tuned = write(tmp_path / "tuned", wrapped(situations.merged()))
    command = [sys.executable, "-m", "ftdiff", "compare", "--strict", str(base), str(tuned)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.strip().splitlines()
    assert "strict, and pairing took 1 guess: 39 names were matched" in line, line


def test_what_pairs_by_itself_is_compared_strictly(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    tuned = write(tmp_path / "tuned", situations.merged())
    lora = situations.write_lora(tmp_path / "lora")
    for one in (tuned, lora):
        diff = ftdiff.compare(base, one, strict=True)
        assert diff.frame.equals(ftdiff.compare(base, one).frame)
