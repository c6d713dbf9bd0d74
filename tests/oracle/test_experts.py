"""Experts that transformers stacks in memory meet those that it writes one by one, bit by bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import ftdiff
from ftdiff.comparison.alignment.experts import EXPERTS
from ftdiff.formats import open_checkpoint
from tests.conftest import write_model
from tests.oracle.models import saved_and_held

SMALL: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "moe_intermediate_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 32,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
}
MORE: dict[str, dict[str, Any]] = {
    "mixtral": {"intermediate_size": 8},
    "qwen2_moe": {"shared_expert_intermediate_size": 8, "decoder_sparse_step": 1},
    "qwen3_moe": {"head_dim": 8, "decoder_sparse_step": 1},
    "deepseek_v3": {
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 8,
    },
}


def write(kind: str, folder: Path) -> tuple[Path, Path]:
    """Write a model as transformers saves it, and as it holds it."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **(SMALL | MORE[kind]))
    return saved_and_held(transformers.AutoModelForCausalLM.from_config(config), folder)


@pytest.mark.parametrize("kind", MORE)
def test_what_transformers_writes_is_what_it_holds(kind: str, tmp_path: Path) -> None:
    apart, stacked = write(kind, tmp_path)
    for base, tuned in ((apart, stacked), (stacked, apart)):
        diff = ftdiff.compare(base, tuned)
        assert {*diff.frame["status"]} == {"identical"} and diff.about["coverage"] == 1.0
        codes = [record["code"] for record in diff.about["reasons"]]
        assert codes.count(EXPERTS) == 1
    assert len(diff.frame.dropna(subset="expert")) == len(
        [name for name in load_file(apart / "model.safetensors") if ".experts." in name]
    )


@pytest.mark.parametrize("way", ["stacked", "apart"])
def test_a_change_of_one_expert_is_seen_in_that_expert(way: str, tmp_path: Path) -> None:
    apart, stacked = write("mixtral", tmp_path)
    file = stacked / "model.safetensors"
    state = load_file(file)
    name = next(name for name in state if "layers.1" in name and "experts.gate_up_proj" in name)
    state[name][2, 8:] += 1.0  # up
    save_file(state, file)
    diff = ftdiff.compare(*((apart, stacked) if way == "stacked" else (stacked, apart)))
    moved = diff.frame[diff.frame["status"] != "identical"]
    assert [*zip(moved["layer"], moved["expert"], strict=True)] == [(1, 2)]
    assert ".w3." in moved["tensor"].iloc[0]
    assert moved["delta_sq"].iloc[0] == pytest.approx(8 * 16, rel=1e-6)


def turned(folder: Path, kind: str, hidden: int = 12, inner: int = 6) -> tuple[Path, Path]:
    """Write experts as a family holds them, and one by one, by the family's own arithmetic."""
    torch.manual_seed(1)
    gate_up = torch.randn(3, hidden, 2 * inner)
    bias, down = torch.randn(3, 2 * inner), torch.randn(3, inner, hidden)
    path = "model.layers.{}.mlp.experts."
    held, apart = {}, {}
    for layer in range(2):
        at = path.format(layer)
        held |= {f"{at}gate_up_proj": gate_up + layer, f"{at}down_proj": down + layer}
        held |= {f"{at}gate_up_proj_bias": bias + layer}
        for e in range(3):
            W, b = held[f"{at}gate_up_proj"][e], held[f"{at}gate_up_proj_bias"][e]
            if kind == "gpt_oss":
                (gate, up), (g, u) = (W[:, ::2], W[:, 1::2]), (b[::2], b[1::2])
            else:
                (gate, up), (g, u) = W.chunk(2, dim=1), b.chunk(2)
            apart |= {f"{at}{e}.gate_proj.weight": gate.T, f"{at}{e}.up_proj.weight": up.T}
            apart |= {f"{at}{e}.gate_proj.bias": g, f"{at}{e}.up_proj.bias": u}
            apart[f"{at}{e}.down_proj.weight"] = held[f"{at}down_proj"][e].T
    for name, state in (("held", held), ("apart", apart)):
        (folder / name).mkdir()
        save_file(
            {n: W.contiguous() for n, W in state.items()}, folder / name / "model.safetensors"
        )
        (folder / name / "config.json").write_text(json.dumps({"model_type": kind} if kind else {}))
    return folder / "held", folder / "apart"


@pytest.mark.parametrize("kind", ["gpt_oss", "llama4_text"])
@pytest.mark.parametrize("sides", [(12, 6), (8, 8)])
def test_stacks_that_are_turned_lie_as_their_family_has_them(
    kind: str, sides: tuple[int, int], tmp_path: Path
) -> None:
    held, apart = turned(tmp_path, kind, *sides)
    for base, tuned in ((apart, held), (held, apart)):
        diff = ftdiff.compare(base, tuned)
        assert {*diff.frame["status"]} == {"identical"}
        assert len(diff.frame) == len(open_checkpoint(apart).tensors)
    (note,) = (note for note in diff.about["notes"] if "expert by expert" in note)
    assert "turned" in note and ("in turns" in note) == (kind == "gpt_oss")


def test_stacks_of_which_nothing_tells_the_order_are_not_compared(tmp_path: Path) -> None:
    diff = ftdiff.compare(*turned(tmp_path, ""))
    assert {*diff.frame["component"].dropna()} and not diff.frame["status"].isin(["changed"]).any()
    assert any("nothing says how they lie" in note for note in diff.about["notes"])
    down = diff.frame[diff.frame["tensor"].str.contains("down_proj")]
    assert {*down["status"]} == {"identical"}


def test_stacks_that_are_saved_turned_are_what_transformers_holds(tmp_path: Path) -> None:
    text = SMALL | MORE["qwen3_moe"] | {"moe_intermediate_size": 6}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2}
    vision |= {"out_hidden_size": 16, "deepstack_visual_indexes": [0], "patch_size": 4}
    config = transformers.Qwen3VLMoeConfig(text_config=text, vision_config=vision)
    torch.manual_seed(0)
    model = transformers.Qwen3VLMoeForConditionalGeneration(config)
    saved, held = saved_and_held(model, tmp_path)
    state = load_file(saved / "model.safetensors")
    turned = {
        n: W.transpose(1, 2).contiguous() if ".experts." in n else W for n, W in state.items()
    }
    save_file(turned, saved / "model.safetensors", {"format": "pt"})
    loaded = type(model).from_pretrained(saved).state_dict()
    assert all(torch.equal(W, loaded[name]) for name, W in model.state_dict().items())
    for base, tuned in ((saved, held), (held, saved)):
        diff = ftdiff.compare(base, tuned)
        assert {*diff.frame["status"]} == {"identical"} and diff.about["coverage"] == 1.0
    (note,) = (one for one in diff.about["reasons"] if one["code"] == EXPERTS)
    assert note["ways"] == ["turned"] and len(note["tensors"]) == 4


def test_experts_in_few_bits_meet_each_one_s_own(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    stored = {}
    at = "model.layers.0.mlp.experts."
    for word, rows, columns in (("gate_up_proj", 64, 96), ("down_proj", 96, 32)):
        bits = torch.randint(0, 256, (3, rows, columns // 32, 16), generator=draw)
        exponents = torch.randint(120, 124, (3, rows, columns // 32), generator=draw)
        stored[f"{at}{word}_blocks"] = bits.to(torch.uint8)
        stored[f"{at}{word}_scales"] = exponents.to(torch.uint8)
    config = {"model_type": "gpt_oss", "quantization_config": {"quant_method": "mxfp4"}}
    few = write_model(tmp_path / "few", stored, config=config)
    read = {n: torch.from_numpy(t.read()) for n, t in open_checkpoint(few).tensors.items()}
    apart = {}
    for e in range(3):
        gate_up, down = read[f"{at}gate_up_proj"][e], read[f"{at}down_proj"][e]
        apart[f"{at}{e}.gate_proj.weight"] = gate_up[:, ::2].T.contiguous()
        apart[f"{at}{e}.up_proj.weight"] = gate_up[:, 1::2].T.contiguous()
        apart[f"{at}{e}.down_proj.weight"] = down.T.contiguous()
    whole = write_model(tmp_path / "whole", apart, config={"model_type": "gpt_oss"})
    for base, tuned in ((few, whole), (whole, few)):
        diff = ftdiff.compare(base, tuned)
        assert {*diff.frame["status"]} == {"identical"} and len(diff.frame) == 9
        assert "MXFP4" in {*diff.frame["base_dtype"], *diff.frame["tuned_dtype"]}
