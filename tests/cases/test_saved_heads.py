"""Adapters that save whole modules along: without a base these are weights, and no change."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import ftdiff
from ftdiff.cli import ftdiff as ftdiff_command
from ftdiff.errors import FtdiffError, Mismatch
from tests.cases import situations
from tests.cases.situations import HIDDEN, VOCAB, factors, write_base, write_lora

AT = "base_model.model"
HEADS = ["classifier.bias", "classifier.weight"]


def head(seed: int, *, name: str = "classifier", rows: int = 3) -> dict[str, torch.Tensor]:
    """Return a saved classifier, much larger than the factors and almost the same for all seeds."""
    shared = torch.randn(rows, HIDDEN, generator=torch.Generator().manual_seed(99))
    noise = torch.randn(rows, HIDDEN, generator=torch.Generator().manual_seed(seed)) / 20
    return {f"{AT}.{name}.weight": 5 * (shared + noise), f"{AT}.{name}.bias": torch.ones(rows)}


def classifier(folder: Path, seed: int, tensors: Any = None, **config: Any) -> Path:
    """Write a LoRA of a sequence classifier, its head saved whole."""
    told = {"task_type": "SEQ_CLS", "modules_to_save": ["classifier", "score"], **config}
    return write_lora(folder, {**factors(seed=seed), **(tensors or head(seed))}, **told)


def cosine(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return the cosine of two LoRAs' changes, in float64."""
    base = situations.state()
    a, b = (
        torch.cat([(W - base[n]).double().flatten() for n, W in situations.merged(x).items()])
        for x in (one, other)
    )
    return float(a @ b / (a.norm() * b.norm()))


def run(*arguments: object) -> tuple[int, str]:
    """Run a command and return its exit code and all that it printed."""
    done = CliRunner().invoke(ftdiff_command, [*map(str, arguments)], env={"COLUMNS": "200"})
    if isinstance(done.exception, FtdiffError):  # what the shell prints, and exits with 2
        return 2, str(done.exception)
    return done.exit_code, done.output


def test_likeness_without_a_base_is_that_of_the_factors(tmp_path: Path) -> None:
    paths = [classifier(tmp_path / str(seed), seed) for seed in (3, 4)]
    wanted = cosine(factors(seed=3), factors(seed=4))
    found = ftdiff.similarity(paths)
    assert found.matrix.iloc[0, 1] == pytest.approx(wanted, abs=1e-6)
    assert abs(wanted) < 0.5 and "classifier.weight" not in {*found.tensors["tensor"]}
    base = write_base(tmp_path / "base")
    assert ftdiff.similarity(paths, base).matrix.iloc[0, 1] == pytest.approx(wanted, abs=1e-6)
    (said,) = (one for one in found.findings() if one.rule == "saved-without-base")
    assert said.message.startswith(
        "2 saved tensors are left out: without a base their change is unknown (classifier.bias, "
    )
    assert said.evidence == {"tensors": {"3": HEADS, "4": HEADS}}
    again = ftdiff.load(found.save(tmp_path / "similarity.json"))
    assert again.about["saved"] == found.about["saved"] and said in again.findings()
    code, text = run("similarity", *paths)
    assert code == 0 and text.count("left out") == 1


def test_a_run_without_a_base_is_the_path_of_its_factors(tmp_path: Path) -> None:
    files = [classifier(tmp_path / f"checkpoint-{seed}", seed) for seed in (3, 4)]
    plain = [write_lora(tmp_path / "plain" / f"checkpoint-{s}", factors(seed=s)) for s in (3, 4)]
    found, wanted = ftdiff.trajectory(None, files), ftdiff.trajectory(None, plain)
    assert found.by().equals(wanted.by())
    assert "saved-without-base" in {one.rule for one in found.findings()}
    later = ftdiff.trajectory(None, [classifier(tmp_path / "checkpoint-9", 5)], earlier=found)
    assert {*later.about["saved"]} == {"checkpoint-3", "checkpoint-4", "checkpoint-9"}
    assert len(later.tensors) == len(found.tensors)


def test_a_head_that_later_files_save_leaves_the_earlier_path(tmp_path: Path) -> None:
    """The earlier ones adapted it, or were measured as if it were a change."""
    pair = {f"{AT}.lm_head.lora_A.weight": torch.ones(4, HIDDEN),
            f"{AT}.lm_head.lora_B.weight": torch.ones(VOCAB, 4)}  # fmt: skip
    early = write_lora(tmp_path / "checkpoint-1", {**factors(seed=3), **pair})
    saved = {f"{AT}.lm_head.weight": torch.ones(VOCAB, HIDDEN)}
    late = classifier(tmp_path / "checkpoint-2", 4, saved)
    apart = ftdiff.trajectory(None, [late], earlier=ftdiff.trajectory(None, [early]))
    assert "lm_head.weight" not in {*apart.tensors["tensor"]}
    whole = ftdiff.trajectory(None, [early, late])
    assert np.allclose(apart.by()["displacement"], whole.by()["displacement"])


def test_a_head_that_one_checkpoint_alone_saved_changes_nothing(tmp_path: Path) -> None:
    bare = write_lora(tmp_path / "checkpoint-1", factors(seed=3))
    full = classifier(tmp_path / "checkpoint-2", 4)
    found = ftdiff.trajectory(None, [bare, full])
    assert found.by()["cosine_final"].iloc[0] == pytest.approx(
        cosine(factors(seed=3), factors(seed=4)), abs=1e-6
    )
    assert {*found.about["saved"]} == {"checkpoint-2"}


def test_a_head_that_one_adapts_and_another_saves_is_of_neither(tmp_path: Path) -> None:
    """The change of the saved one is not known, and is not zero."""
    pair = {f"{AT}.lm_head.lora_A.weight": torch.ones(4, HIDDEN),
            f"{AT}.lm_head.lora_B.weight": torch.ones(VOCAB, 4)}  # fmt: skip
    adapts = write_lora(tmp_path / "adapts", {**factors(seed=3), **pair})
    saves = write_lora(
        tmp_path / "saves",
        {**factors(seed=4), f"{AT}.lm_head.weight": torch.ones(VOCAB, HIDDEN)},
        modules_to_save=["lm_head"],
    )
    found = ftdiff.similarity([adapts, saves])
    rows = found.by("tensor").set_index("tensor")
    assert math.isnan(rows.loc["lm_head.weight", "cosine"])
    assert found.matrix.iloc[0, 1] == pytest.approx(
        cosine(factors(seed=3), factors(seed=4)), abs=1e-6
    )


@pytest.mark.parametrize("command", ["similarity", "trajectory"])
def test_what_is_saved_alone_is_refused_in_one_line(command: str, tmp_path: Path) -> None:
    norms = {
        f"{AT}.model.layers.{i}.input_layernorm.ln_tuning_layers.weight": torch.ones(HIDDEN)
        for i in range(4)
    }
    told = {"peft_type": "LN_TUNING", "target_modules": ["input_layernorm"]}
    tuned = [write_lora(tmp_path / f"checkpoint-{i}", norms, **told) for i in (1, 2)]
    code, text = run(command, *(["-"] if command == "trajectory" else []), *tuned)
    assert code == 2 and "\n" not in text
    assert "checkpoint-1: holds saved tensors alone" in text and "give --base" in text
    base = write_base(tmp_path / "base")
    assert run("similarity", *tuned, "--base", base)[0] == 0


def _tokens(folder: Path, seed: int) -> Path:
    rows = {f"{AT}.model.embed_tokens.token_adapter.trainable_tokens_delta": torch.ones(2, HIDDEN)}
    held = {**factors(seed=seed), **rows}
    return write_lora(folder, held, trainable_token_indices={"embed_tokens": [3, 5]})


def _biases(folder: Path, seed: int) -> Path:
    saved = {f"{AT}.model.layers.{i}.self_attn.q_proj.bias": torch.ones(HIDDEN) for i in range(4)}
    return write_lora(folder, {**factors(seed=seed), **saved}, bias="all")


def _embeddings(folder: Path, seed: int) -> Path:
    saved = {f"{AT}.model.embed_tokens.weight": torch.ones(VOCAB, HIDDEN)}
    return write_lora(folder, {**factors(seed=seed), **saved})


@pytest.mark.parametrize("write", [classifier, _tokens, _biases, _embeddings])
def test_every_kind_of_saved_tensor_stands_apart_without_a_base(write: Any, tmp_path: Path) -> None:
    paths = [write(tmp_path / str(seed), seed) for seed in (3, 4)]
    plain = ftdiff.compare(None, write_lora(tmp_path / "plain", factors(seed=3)))
    diff = ftdiff.compare(None, paths[0])
    saved = diff.frame[diff.frame["reason"] == "saved-without-base"]
    assert len(saved) and saved["delta_sq"].isna().all() and saved["tuned_sq"].notna().all()
    assert {*saved["status"]} == {"added"}
    assert diff.overall == plain.overall
    numbers = ("energy_share", "rms_change", "lift")
    for column in ("component", "layer"):
        mine = diff.by(column, metrics=numbers).dropna(subset=["energy_share"])
        theirs = plain.by(column, metrics=numbers)
        assert np.array_equal(mine[[*numbers]].to_numpy(), theirs[[*numbers]].to_numpy())
    (why,) = (one for one in diff.about["reasons"] if one["code"] == "saved-without-base")
    assert why["tensors"] == [*saved["tensor"]]
    wanted = cosine(factors(seed=3), factors(seed=4))
    assert ftdiff.similarity(paths).matrix.iloc[0, 1] == pytest.approx(wanted, abs=1e-6)
    code, text = run("compare", "-", paths[0])
    assert code == 0 and f"! {len(saved)} saved tensor" in text and "left out" in text
    rules = {one.rule for one in ftdiff.audit(diff).findings}
    assert "saved-without-base" in rules and "one-sided" not in rules


def test_measures_that_need_more_than_sums_leave_what_is_saved_out(tmp_path: Path) -> None:
    path = classifier(tmp_path / "a", 3)
    diff = ftdiff.compare(None, path, ["spectral", "geometry"])
    heads = diff.frame[diff.frame["block"] == "head"]
    assert len(heads) == 2
    assert heads["stable_rank"].isna().all() and heads["spectral_norm"].isna().all()
    found = ftdiff.parts.tokens(None, _embeddings(tmp_path / "b", 3)).frame
    assert len(found) == VOCAB and found["delta_sq"].isna().all()


def test_a_saved_module_that_the_base_lacks_is_said_once_in_an_audit(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", tie_word_embeddings=True)
    # as many rows as there are tokens: still no head that a tie would drop
    path = classifier(tmp_path / "a", 3, head(3, rows=VOCAB))
    found = ftdiff.audit(ftdiff.compare(base, path)).findings
    said = [one for one in found if "classifier.weight" in one.evidence.get("tensors", ())]
    assert [(one.rule, one.severity) for one in said] == [("saved-module", "note")]
    # what no configuration names is still one-sided
    odd = classifier(tmp_path / "b", 3, modules_to_save=["score"])
    found = ftdiff.audit(ftdiff.compare(base, odd)).findings
    assert "one-sided" in {one.rule for one in found}
    assert "saved-module" not in {one.rule for one in found}


def test_a_head_alone_is_refused_and_a_lora_alone_has_nothing_to_say(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a")
    assert not ftdiff.compare(None, path).about["reasons"]
    alone = write_lora(tmp_path / "b", head(3), modules_to_save=["classifier"])
    with pytest.raises(Mismatch, match="b: holds saved tensors alone"):
        ftdiff.similarity([path, alone])
