"""A model that runs: opened as what it is, set to W + t·ΔW and back, its losses and gradients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from ftdiff.adapters import open_base, open_tuned
from ftdiff.analyses import texts
from ftdiff.analyses.live_model import batches, changes, layers, losses, mounting, opening
from ftdiff.comparison.plan import pair
from ftdiff.errors import BadCall, BadFile, Mismatch
from tests.analyses import live_models
from tests.analyses.live_models import moved, saved, token_rows, written
from tests.oracle import models


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> texts.Texts:
    return texts.read(written(token_rows(), tmp_path_factory.mktemp("t") / "ids.jsonl"), None)


def mounted(base: Path, tuned: Path) -> changes.Changes:
    opened = open_base(base)
    return changes.changes_of(opening.open_(base), pair(opened, open_tuned(tuned, opened)))


def state(live: opening.Live) -> dict[str, torch.Tensor]:
    return {name: held.detach().clone() for name, held in live.model.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    bits = {
        name: (held.view(torch.int32), other[name].view(torch.int32)) for name, held in one.items()
    }
    return all(torch.equal(a, b) for a, b in bits.values())


def near(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, held in one.items():
        assert torch.allclose(held, other[name], rtol=0, atol=1e-7), name


def by_hand(model: Any, tokens: texts.Texts) -> torch.Tensor:
    """The mean loss over tokens, a text at a time, as transformers takes it."""
    total, count = torch.zeros(()), 0
    for ids, mask in zip(tokens.ids, tokens.mask, strict=True):
        row = torch.tensor(ids[mask])[None]
        total = total + model(input_ids=row, labels=row).loss * (row.shape[1] - 1)
        count += row.shape[1] - 1
    return total / count


# ---- opened


def test_a_model_is_opened_as_what_it_is(tmp_path: Path) -> None:
    gpt2 = opening.open_(saved(models.gpt2(), tmp_path / "gpt2"))
    assert (gpt2.kind, gpt2.model.training, gpt2.tokenizer) == ("causal", False, None)
    assert "lm_head.weight" in gpt2.named and "lm_head.weight" not in gpt2.parameters()
    bert = saved(live_models.bert(), tmp_path / "bert")
    assert opening.open_(bert).kind == "masked"
    assert opening.open_(bert, heads=("bare",)).kind == "bare"
    assert opening.open_(bert, dtype="bfloat16").model.dtype == torch.bfloat16


def test_a_head_that_the_file_lacks_is_not_made_up(tmp_path: Path) -> None:
    bare = saved(live_models.bert().bert, tmp_path / "bare")
    with pytest.raises(Mismatch, match="no model that is causal or masked: as masked it lacks cls"):
        opening.open_(bare)
    assert opening.open_(bare, heads=("causal", "masked", "bare")).kind == "bare"


def test_what_cannot_be_run_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    save_file({"w": torch.zeros(2)}, tmp_path / "odd" / "model.safetensors")
    with pytest.raises(BadFile, match=r"no config\.json"):
        opening.open_(tmp_path / "odd")
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "of nobody"}')
    with pytest.raises(BadFile, match="transformers cannot open it"):
        opening.open_(tmp_path / "odd")
    unnamed = '{"model_type": "llama", "architectures": [NaN]}'
    (tmp_path / "odd" / "config.json").write_text(unnamed)
    with pytest.raises(BadFile, match="architectures is not a list of names"):
        opening.open_(tmp_path / "odd")
    remote = '{"model_type": "x", "auto_map": {"AutoConfig": "evil.Config"}}'
    (tmp_path / "odd" / "config.json").write_text(remote)
    (tmp_path / "odd" / "evil.py").write_text("raise SystemExit('executed')")
    with pytest.raises(BadFile):
        opening.open_(tmp_path / "odd")
    for told in ({"num_hidden_layers": 2**63}, {"text_config": {"n_layer": 2}}):
        (tmp_path / "odd" / "config.json").write_text(json.dumps({"model_type": "llama", **told}))
        with pytest.raises(
            BadFile,
            match=r"it promises [\d,]+ layers \((num_hidden_layers|n_layer)\), and has 1 tensor$",
        ):
            opening.open_(tmp_path / "odd")
    model = saved(models.llama(), tmp_path / "llama")
    (model / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(Mismatch, match="an adapter lies beside the model"):
        opening.open_(model)
    (model / "adapter_config.json").unlink()
    with pytest.raises(BadCall, match="torch does not see it"):
        opening.open_(model, device="cuda:99")
    with pytest.raises(BadCall, match="torch does not see it"):
        opening.open_(model, device="meta")
    with pytest.raises(BadCall, match="dtype 'int3'"):
        opening.open_(model, dtype="int3")


# ---- losses and gradients


@pytest.mark.parametrize("size", [1, 4, 100])
def test_losses_and_gradients_are_of_all_tokens_whatever_the_batch(
    tmp_path: Path, tokens: texts.Texts, size: int
) -> None:
    model = models.llama()
    by_hand(model, tokens).backward()
    wanted = {name: held.grad for name, held in model.named_parameters()}
    live = opening.open_(saved(model, tmp_path))
    rows = batches.rows(live, tokens)
    once: dict[str, Any] = {}
    parts: dict[str, Any] = {}

    def take(name: str, g: Any) -> None:
        assert name not in once
        once[name] = g.clone()

    def add(name: str, g: Any) -> None:
        parts[name] = parts.get(name, 0) + g

    found = losses.gradients(live, rows, take, batches.Pace(size), whole=True)
    losses.gradients(live, rows, add, batches.Pace(size))
    assert found.mean == pytest.approx(by_hand(model, tokens).item(), rel=1e-6)
    assert losses.losses(live, rows, batches.Pace(size)).mean == pytest.approx(found.mean, rel=1e-6)
    for name, grad in wanted.items():
        assert torch.allclose(once[name], grad, atol=1e-6)
        assert torch.allclose(parts[name], grad, atol=1e-6)
    assert all(held.grad is None for held in live.model.parameters())


def test_a_tied_head_has_one_gradient(tmp_path: Path, tokens: texts.Texts) -> None:
    model = models.gpt2()
    by_hand(model, tokens).backward()
    live = opening.open_(saved(model, tmp_path))
    seen: list[str] = []

    def take(name: str, g: Any) -> None:
        seen.append(name)
        assert torch.allclose(g, dict(model.named_parameters())[name].grad, atol=1e-5)

    losses.gradients(live, batches.rows(live, tokens), take, whole=True)
    assert sorted(seen) == sorted(live.parameters())


def test_what_the_last_texts_do_not_reach_has_the_gradient_of_the_others(
    tmp_path: Path, tokens: texts.Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = opening.open_(saved(models.llama(), tmp_path))
    rows = batches.rows(live, tokens)
    ordinary, head, calls = live.model.forward, live.model.lm_head.weight, []

    def forward(**inputs: Any) -> Any:
        calls.append(1)
        if len(calls) < 2:
            return ordinary(**inputs)
        hidden = live.model.model(**inputs).last_hidden_state
        return transformers.modeling_outputs.CausalLMOutput(logits=hidden @ head.detach().T)

    monkeypatch.setattr(live.model, "forward", forward)
    seen: dict[str, Any] = {}
    losses.gradients(
        live, rows, lambda n, g: seen.update({n: g.clone()}), batches.Pace(3), whole=True
    )
    assert len(calls) == 2 and sorted(seen) == sorted(live.parameters())
    assert seen["lm_head.weight"].abs().max() > 0


def test_hidden_tokens_are_drawn_once_and_asked(tmp_path: Path, tokens: texts.Texts) -> None:
    live = opening.open_(saved(live_models.bert(), tmp_path))
    rows = batches.rows(live, tokens)
    again = batches.rows(live, tokens)
    assert (rows.ids == again.ids).all() and (rows.asked >= 1).all()
    hidden = rows.targets != batches.IGNORED
    assert (rows.ids[hidden] == 3).all() and (rows.targets[hidden] == tokens.ids[hidden]).all()
    assert losses.losses(live, rows, batches.Pace(2)).mean == pytest.approx(
        losses.losses(live, rows, batches.Pace(6)).mean, rel=1e-6
    )


def test_a_token_that_the_model_has_not_is_refused(tmp_path: Path) -> None:
    live = opening.open_(saved(models.gpt2(), tmp_path / "m"))
    for row, told in (([1, 99], "token 99 is beyond"), ([1] * 17, "17 tokens is longer than")):
        found = texts.read(written([row], tmp_path / "t.jsonl"), None)
        with pytest.raises(BadCall, match=told):
            batches.rows(live, found)


def test_a_loss_that_is_no_number_is_refused(tmp_path: Path, tokens: texts.Texts) -> None:
    model = models.llama()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    live = opening.open_(saved(model, tmp_path))
    with pytest.raises(
        BadCall, match=r"the loss of the model is not finite \(first on text 1 of 6\)"
    ):
        losses.losses(live, batches.rows(live, tokens))


def test_a_batch_that_does_not_fit_is_halved_and_begun_again(
    tmp_path: Path, tokens: texts.Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = opening.open_(saved(models.llama(), tmp_path))
    rows = batches.rows(live, tokens)
    whole: dict[str, Any] = {}
    losses.gradients(live, rows, lambda n, g: whole.update({n: g.clone()}), whole=True)
    ordinary = live.model.forward
    calls = []

    def narrow(**inputs: Any) -> Any:
        calls.append(len(inputs["input_ids"]))
        if len(calls) in (2, 4):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return ordinary(**inputs)

    monkeypatch.setattr(live.model, "forward", narrow)
    said: list[str] = []
    found: dict[str, Any] = {}
    pace = batches.Pace(4, said.append)
    losses.gradients(live, rows, lambda n, g: found.update({n: g.clone()}), pace, whole=True)
    assert calls == [4, 2, 2, 2, 1, 1, 1, 1, 1, 1] and pace.halved == [2, 1]
    assert said == [
        "out of memory: 2 at a time from here on",
        "out of memory: 1 at a time from here on",
    ]
    assert all(torch.allclose(found[name], g, atol=1e-7) for name, g in whole.items())
    calls[:] = [0]
    with pytest.raises(BadCall, match="out of memory with one text at a time"):
        losses.losses(live, rows, pace)


def test_a_model_that_does_not_run_is_said_in_a_line(
    tmp_path: Path, tokens: texts.Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = opening.open_(saved(models.llama(), tmp_path))

    def unable(**inputs: Any) -> Any:
        raise NotImplementedError("'addmm' not implemented for 'Half'\nmore")

    monkeypatch.setattr(live.model, "forward", unable)
    with pytest.raises(BadCall, match=r"does not run as it was asked to: 'addmm' .* 'Half'$"):
        losses.losses(live, batches.rows(live, tokens))


# ---- mounted


def test_the_model_is_the_fine_tune_and_then_the_base_bit_for_bit(
    tmp_path: Path, tokens: texts.Texts
) -> None:
    base, tuned = models.llama(), moved(models.llama())
    found = mounted(saved(base, tmp_path / "b"), saved(tuned, tmp_path / "t"))
    live = found.live
    before = state(live)
    with mounting.at(found):
        near(state(live), state_of(tuned))
        with mounting.reverted(found, {"model.norm.weight"}):
            now = state(live)
            assert torch.equal(now["model.norm.weight"], before["model.norm.weight"])
        near(state(live), state_of(tuned))
    assert same(state(live), before)
    with mounting.grafted(found, {"lm_head.weight"}), mounting.zeroed(live, ["model.norm.weight"]):
        now = state(live)
        near({"lm_head.weight": now.pop("lm_head.weight")}, state_of(tuned))
        assert not now.pop("model.norm.weight").any()
    with pytest.raises(KeyError), mounting.at(found, 0.5):
        half = state(live)["lm_head.weight"]
        middle = (before["lm_head.weight"] + state_of(tuned)["lm_head.weight"]) / 2
        assert torch.allclose(half, middle, atol=1e-7)
        raise KeyError
    assert same(state(live), before)


def state_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: held.detach() for name, held in model.named_parameters()}


def test_a_skipped_layer_hands_on_what_it_is_given(tmp_path: Path, tokens: texts.Texts) -> None:
    live = opening.open_(saved(models.llama(), tmp_path))
    assert [(one.index, one.path) for one in layers.layers(live)] == [
        (0, "model.layers.0"),
        (1, "model.layers.1"),
    ]
    rows = batches.rows(live, tokens)
    whole = losses.losses(live, rows).mean
    names = [name for name in live.parameters() if name.startswith("model.layers.1.")]
    with layers.skipping(live, 1):
        skipped = losses.losses(live, rows).mean
    with mounting.zeroed(live, names):
        assert losses.losses(live, rows).mean == pytest.approx(skipped, abs=1e-6)
    assert losses.losses(live, rows).mean == whole != skipped
    with pytest.raises(BadCall, match="no layer 7"), layers.skipping(live, 7):
        pass


def test_a_layer_of_bert_that_is_zeroed_is_not_skipped(tmp_path: Path, tokens: texts.Texts) -> None:
    live = opening.open_(saved(live_models.bert(), tmp_path))
    rows = batches.rows(live, tokens)
    with layers.skipping(live, 1):
        skipped = losses.losses(live, rows).mean
    names = [name for name in live.parameters() if ".layer.1." in name]
    with mounting.zeroed(live, names):
        assert abs(losses.losses(live, rows).mean - skipped) > 1e-2


def test_two_changes_of_a_tied_matrix_are_refused(tmp_path: Path) -> None:
    base = saved(models.gpt2(), tmp_path / "b")
    tuned = saved(models.gpt2(tied=True), tmp_path / "t")
    held = load_file(tuned / "model.safetensors")
    name = "transformer.wte.weight"
    held["lm_head.weight"] = held[name] + 1
    save_file(held, tuned / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Mismatch, match=r"tied|written into the base"):
        mounted(base, tuned)


@pytest.mark.parametrize(
    "config",
    [
        peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        peft.LoraConfig(r=2, target_modules=["q_proj"], layer_replication=[[0, 2], [1, 2]]),
    ],
    ids=lambda config: str(config.peft_type.value),
)
def test_what_no_parameter_can_hold_is_refused(tmp_path: Path, config: Any) -> None:
    model = models.llama()
    base, adapter = saved(model, tmp_path / "b"), models.save_adapter(model, config, tmp_path / "a")
    with pytest.raises(Mismatch, match="not run"):
        mounted(base, adapter)


def test_less_than_all_of_a_change_is_refused(tmp_path: Path) -> None:
    base = saved(models.llama(), tmp_path / "b")
    tuned = saved(moved(models.llama()), tmp_path / "t")
    held = load_file(tuned / "model.safetensors")
    del held["model.layers.1.mlp.up_proj.weight"]
    save_file(held, tuned / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Mismatch, match=r"only .*% of the change can be written"):
        mounted(base, tuned)


def test_a_model_that_runs_holds_what_its_file_says(tmp_path: Path) -> None:
    folders = [saved(models.llama(seed=seed), tmp_path / str(seed)) for seed in (0, 1, 2)]
    opened = open_base(folders[0])
    plan = pair(opened, open_tuned(folders[2], opened))
    with pytest.raises(Mismatch, match="holds other values than the base's file"):
        changes.changes_of(opening.open_(folders[1]), plan)


def test_masked_models_are_mounted_too(tmp_path: Path, tokens: texts.Texts) -> None:
    base, tuned = live_models.bert(), moved(live_models.bert(), ["layer.1."])
    found = mounted(saved(base, tmp_path / "b"), saved(tuned, tmp_path / "t"))
    assert {name.split(".")[3] for name in found} == {"1"}
    with mounting.at(found):
        ids = torch.tensor(np.where(tokens.mask, tokens.ids, 0))
        mine = found.live.model(input_ids=ids).logits
    assert torch.allclose(mine, tuned(input_ids=ids).logits, atol=1e-5)
    assert isinstance(found.live.model, transformers.BertForMaskedLM)
