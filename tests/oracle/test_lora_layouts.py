"""LoRA on models whose files and layers are not the model's own, or that PEFT does not merge."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from peft.tuners.lora.variants import QALoraLinearVariant
from safetensors.torch import load_file, save_file
from torch import nn

import ftdiff
from ftdiff.comparison.plan import pair
from ftdiff.formats.note import Note
from tests.conftest import write_model
from tests.oracle import models
from tests.oracle.agreement import (
    CLOSE,
    assert_agrees,
    delta_weights,
    loaded,
    measured,
    merge_difference,
    opened,
    save_adapter,
    save_base,
)

EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def rewrite(adapter: Path, change: Callable[[str], str]) -> None:
    file = adapter / "adapter_model.safetensors"
    save_file({change(key): tensor for key, tensor in load_file(file).items()}, file)


def configure(adapter: Path, **fields: Any) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize("dora", [False, True])
def test_every_replica_changes_from_the_layer_that_it_copies(dora: bool, tmp_path: Path) -> None:
    model, ranges = models.llama(), [[0, 2], [1, 2], [0, 1]]
    config = peft.LoraConfig(
        r=3, target_modules=["q_proj", "down_proj"], layer_replication=ranges, use_dora=dora
    )
    base = save_base(model, tmp_path / "base")
    adapter = save_adapter(model, config, tmp_path / "adapter")
    deep = deepened(model, [0, 1, 1, 0])  # PEFT shares the copies' weights, and merges into them
    apart = tmp_path / "apart"
    apart.mkdir()
    for file in adapter.iterdir():
        (apart / file.name).write_bytes(file.read_bytes())
    configure(apart, layer_replication=None)
    wanted = merge_difference(deep, apart)
    checkpoint, tuned = opened(base, adapter)
    plan = pair(checkpoint, tuned)
    assert not plan.added and not plan.removed and len(plan.changes) == 8
    for change in plan.changes:
        dW = wanted[change.address.name]
        ours = change.recipe.delta(change.base).dense()
        assert np.linalg.norm(ours - dW) <= CLOSE * np.linalg.norm(dW)
    rows, _ = measured(base, adapter)
    assert {row["tensor"] for row in rows} == set(wanted)
    for row in rows:
        name = row["tensor"]
        W = deep.state_dict()[name].double().numpy()
        if row["status"] == "changed":
            assert row["delta_sq"] == pytest.approx(np.square(wanted[name]).sum(), rel=2 * CLOSE)
            assert row["base_sq"] == pytest.approx(np.square(W).sum(), rel=1e-7)
        else:
            assert row["status"] == "untouched" and not wanted[name].any()


def deepened(model: nn.Module, layers: list[int]) -> nn.Module:
    deep = copy.deepcopy(model)
    deep.model.layers = nn.ModuleList(copy.deepcopy(model.model.layers[i]) for i in layers)
    for i, layer in enumerate(deep.model.layers):
        layer.self_attn.layer_idx = i
    return deep


@pytest.mark.parametrize("ranges", [[[0, 3]], [[-1, 1]], [[1, 0]], [["0", 1]], [[0]], 3])
def test_ranges_that_are_none_of_the_base_are_refused(ranges: Any, tmp_path: Path) -> None:
    model = models.llama()
    base = save_base(model, tmp_path / "base")
    adapter = save_adapter(
        model, peft.LoraConfig(r=2, target_modules=["q_proj"]), tmp_path / "adapter"
    )
    configure(adapter, layer_replication=ranges)
    with pytest.raises(ftdiff.errors.BadAdapter, match="no range of the base's 2 layers"):
        opened(base, adapter)


def test_conditional_lora_is_its_product_and_says_when_it_acts(tmp_path: Path) -> None:
    model = models.llama()
    config = peft.LoraConfig(
        r=3, target_modules=["q_proj"], alora_invocation_tokens=[1], task_type="CAUSAL_LM"
    )
    base = save_base(model, tmp_path / "base")
    adapter = save_adapter(model, config, tmp_path / "adapter")
    wanted = {name: np.zeros(W.shape) for name, W in models.state(model).items()}
    for name, dW in delta_weights(loaded(model, adapter)).items():
        wanted[name] = dW.detach().numpy()
    tuned = assert_agrees(base, adapter, wanted)
    assert tuned.kind == "alora"
    assert [note.code for note in tuned.notes if isinstance(note, Note)] == ["conditional"]


def test_pooled_inputs_are_unpooled(tmp_path: Path) -> None:
    torch.manual_seed(0)
    A, B, scaling, size = torch.randn(3, 6), torch.randn(5, 3), 7 / 3, 4
    layer = SimpleNamespace(
        lora_A={"x": nn.Linear(6, 3, bias=False)},
        lora_B={"x": nn.Linear(3, 5, bias=False)},
        lora_dropout={"x": nn.Identity()},
        scaling={"x": scaling},
        qalora_group_size={"x": size},
        in_features=24,
        training=False,
    )
    layer.lora_A["x"].weight.data, layer.lora_B["x"].weight.data = A, B
    eye = torch.eye(24)
    wanted = QALoraLinearVariant.forward(layer, "x", eye, torch.zeros(24, 5)).T.detach().numpy()
    base = write_model(tmp_path / "base", {"layers.0.q.weight": torch.randn(5, 24)})
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    at = "base_model.model.layers.0.q"
    save_file(
        {f"{at}.lora_A.weight": A, f"{at}.lora_B.weight": B}, adapter / "adapter_model.safetensors"
    )
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 7, "use_qalora": True}
    told = json.dumps(config | {"qalora_group_size": size})
    (adapter / "adapter_config.json").write_text(told)
    tuned = assert_agrees(base, adapter, {"layers.0.q.weight": wanted})
    (origin,) = tuned.scalings.values()
    assert origin.startswith("6/4 · α/r = 7/3")


@pytest.mark.parametrize("name", ["default", "my-adapter_2"])
def test_adapter_names_inside_keys_are_dropped(name: str, tmp_path: Path) -> None:
    model = models.llama()
    config = peft.LoraConfig(r=3, target_modules=["q_proj", "embed_tokens"])
    base = save_base(model, tmp_path / "base")
    adapter = save_adapter(model, config, tmp_path / "adapter")
    wanted = merge_difference(model, adapter)
    for part in ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B"):
        rewrite(adapter, lambda key, p=part: key.replace(p, f"{p}.{name}"))
    assert_agrees(base, adapter, wanted)


def qwen3_moe() -> nn.Module:
    config = transformers.Qwen3MoeConfig(
        vocab_size=40,
        hidden_size=16,
        moe_intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        num_experts=3,
        num_experts_per_tok=2,
    )
    torch.manual_seed(0)
    return transformers.Qwen3MoeForCausalLM(config).eval()


@pytest.mark.parametrize("build", [models.mixtral, qwen3_moe])
def test_experts_that_the_base_stores_apart_change_as_its_merge_is_stored(
    build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    model = build()
    config = peft.LoraConfig(
        r=2, lora_alpha=5, target_modules=["q_proj"], target_parameters=EXPERTS
    )
    adapter = save_adapter(model, config, tmp_path / "adapter")
    model.save_pretrained(tmp_path / "base")
    after = loaded(model, adapter).merge_and_unload()
    after.save_pretrained(tmp_path / "after")
    tensors = load_file(tmp_path / "base" / "model.safetensors")
    assert any(".experts.2." in name for name in tensors)
    wanted = {
        name: W.double().numpy() - tensors[name].double().numpy()
        for name, W in load_file(tmp_path / "after" / "model.safetensors").items()
    }
    assert_agrees(tmp_path / "base", adapter, wanted)


def test_square_experts_of_an_unknown_model_are_refused(tmp_path: Path) -> None:
    model = models.gpt_oss(intermediate=16)
    config = peft.LoraConfig(r=2, target_modules=[], target_parameters=["experts.down_proj"])
    base = save_base(model, tmp_path / "base")
    adapter = save_adapter(model, config, tmp_path / "adapter")
    (base / "config.json").unlink()
    _, unreadable = measured(base, adapter)
    assert len(unreadable) == 2
    assert all("experts are square" in why for why in unreadable.values())


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "down_proj"], "use_rslora": True},
        {"target_modules": [], "target_parameters": EXPERTS},
        {"target_modules": [], "target_parameters": EXPERTS[1:]},
    ],
)
def test_without_a_base_norms_and_spectra_are_the_merges(
    options: dict[str, Any], tmp_path: Path
) -> None:
    model = models.mixtral() if "target_parameters" in options else models.llama()
    config = peft.LoraConfig(r=3, lora_alpha=5, **options)
    adapter = save_adapter(model, config, tmp_path / "adapter")
    wanted = {name: dW for name, dW in merge_difference(model, adapter).items() if dW.any()}
    tuned = ftdiff.open_tuned(adapter)
    assert set(tuned.recipes) == set(wanted)
    for row in measured(None, adapter)[0]:
        dW = wanted[row["tensor"]]
        assert row["shape"] == dW.shape
        assert row["delta_sq"] == pytest.approx(np.square(dW).sum(), rel=2 * CLOSE)
        ours = tuned.recipes[row["tensor"]].delta(None).singular_values()
        theirs = np.sort(np.linalg.svd(dW, compute_uv=False).ravel())[::-1][: len(ours)]
        assert np.allclose(ours, theirs, rtol=CLOSE, atol=CLOSE * theirs[0])


def test_a_grown_vocabulary_is_compared_where_both_have_rows(tmp_path: Path) -> None:
    model = models.llama()
    base = save_base(model, tmp_path / "base")
    grown = copy.deepcopy(model)
    grown.resize_token_embeddings(44, mean_resizing=False)
    config = peft.LoraConfig(r=3, target_modules=["embed_tokens", "q_proj"])
    adapter = save_adapter(grown, config, tmp_path / "adapter")
    dW = merge_difference(grown, adapter)["model.embed_tokens.weight"][:40]
    plan = pair(*opened(base, adapter))
    assert plan.reshaped == ("model.embed_tokens.weight",)
    row = next(r for r in measured(base, adapter)[0] if r["tensor"] == "model.embed_tokens.weight")
    assert row["status"] == "reshaped" and row["numel"] == dW.size
    assert row["delta_sq"] == pytest.approx(np.square(dW).sum(), rel=2 * CLOSE)


def test_grouped_convolutions_are_refused(tmp_path: Path) -> None:
    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 6, 3, groups=2)

    model = Grouped()
    base = save_base(model, tmp_path / "base")
    adapter = save_adapter(
        model, peft.LoraConfig(r=2, target_modules=["conv"]), tmp_path / "adapter"
    )
    _, unreadable = measured(base, adapter)
    assert "the convolution has groups" in unreadable["conv.weight"]
