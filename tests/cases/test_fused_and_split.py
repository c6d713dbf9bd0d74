"""What one file stores as one tensor and another as several is compared as one, or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import ftdiff
from tests.cases import situations
from tests.conftest import write_model

Tensors = dict[str, torch.Tensor]
LAYERS, HIDDEN, HEADS, KEY_HEADS = 2, 32, 4, 2
KEYS = HIDDEN // HEADS * KEY_HEADS
CONFIG = {
    "model_type": "phi3",
    "num_hidden_layers": LAYERS,
    "hidden_size": HIDDEN,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEY_HEADS,
}
#: Rows of each part, as Llama calls them.
ATTN = {"q_proj": HIDDEN, "k_proj": KEYS, "v_proj": KEYS}
MLP = {"gate_proj": 48, "up_proj": 48}


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def split(*, bias: bool = False) -> Tensors:
    """Return a small model under Llama's names."""
    found = {"model.embed_tokens.weight": _random(1, 20, HIDDEN)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        for i, (name, rows) in enumerate(ATTN.items()):
            found[f"{at}self_attn.{name}.weight"] = _random(10 * layer + i + 2, rows, HIDDEN)
            if bias:
                found[f"{at}self_attn.{name}.bias"] = _random(10 * layer + i + 70, rows)
        for i, (name, rows) in enumerate(MLP.items()):
            found[f"{at}mlp.{name}.weight"] = _random(10 * layer + i + 5, rows, HIDDEN)
        found[f"{at}self_attn.o_proj.weight"] = _random(10 * layer + 8, HIDDEN, HIDDEN)
    return found


def fused(tensors: Tensors) -> Tensors:
    """Return the same under Phi-3's names."""
    found: Tensors = {}
    for name, tensor in tensors.items():
        for parts, whole in ((ATTN, "qkv_proj"), (MLP, "gate_up_proj")):
            first = next(iter(parts))
            if f".{first}." in name:
                rows = [tensors[name.replace(first, part)] for part in parts]
                found[name.replace(first, whole)] = torch.cat(rows)
            if any(f".{part}." in name for part in parts):
                break
        else:
            found[name] = tensor
    return found


def lora(**config: Any) -> tuple[Tensors, dict[str, Any]]:
    """Return a LoRA on q, v, gate and o under Llama's names, and its configuration."""
    found: Tensors = {}
    for i, (name, W) in enumerate(split().items()):
        leaf = name.split(".")[-2]
        if leaf in ("q_proj", "v_proj", "gate_proj", "o_proj"):
            at = f"base_model.model.{name.removesuffix('.weight')}"
            rank = config.get("rank_pattern", {}).get(leaf, 4)
            found[f"{at}.lora_A.weight"] = _random(100 + i, rank, W.shape[1]) / 8
            found[f"{at}.lora_B.weight"] = _random(200 + i, W.shape[0], rank) / 8
    targets = ["q_proj", "v_proj", "gate_proj", "o_proj"]
    return found, {"r": 4, "lora_alpha": 8, "target_modules": targets, **config}


def merged(base: Tensors, tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """Return a base with a LoRA added, both under Llama's names."""
    found = dict(base)
    for key, A in tensors.items():
        if key.endswith(".lora_A.weight"):
            name = key.removeprefix("base_model.model.").replace(".lora_A", "")
            B = tensors[key.replace("lora_A", "lora_B")]
            found[name] = base[name] + config["lora_alpha"] / len(A) * (B @ A)
    return found


def _numbers(diff: ftdiff.Diff) -> dict[str, float]:
    return dict(diff.by("component", over="moved")["relative_norm"].dropna())


def _codes(diff: ftdiff.Diff) -> set[str]:
    return {record["code"] for record in diff.about["reasons"]}


def test_split_adapter_and_merge_on_a_fused_base(tmp_path: Path) -> None:
    tensors, config = lora()
    base = write_model(tmp_path / "base", fused(split()), config=CONFIG)
    adapter = situations.write_lora(tmp_path / "lora", tensors, **config)
    whole = merged(split(), tensors, config)
    model = write_model(tmp_path / "merged", whole, config=CONFIG)
    same = write_model(tmp_path / "fused", fused(whole), config=CONFIG)
    wanted = situations.relative_norm(fused(split()), fused(whole))
    for tuned in (adapter, model, same):
        diff = ftdiff.compare(base, tuned)
        assert diff.about["coverage"] == 1.0
        assert diff.whole("moved")["relative_norm"] == pytest.approx(wanted, rel=1e-6)
        assert diff.about["counts"]["added"] + diff.about["counts"]["removed"] == 0
        assert ("joined" in _codes(diff)) == (tuned != same)
        audit = ftdiff.audit(diff)
        said = {one.rule: one.message for one in audit.findings}
        # PEFT finds no q_proj in the fused base, and says nothing
        assert {*said} <= {"scale", "frozen", "would-not-load"}
        assert audit.ok == ("would-not-load" not in said) == (tuned != adapter)
        if tuned == adapter:
            (note,) = (one for one in diff.about["notes"] if "PEFT would load" in one)
            assert note.endswith("; ΔW is measured as if it were")  # under the base's own names
        assert "attn.qkv" not in said["frozen"] and "gate_up" not in said["frozen"]
    for one in (model, same):
        assert ftdiff.verify(base, adapter, one).ok
    assert ftdiff.similarity([adapter, model, same], base=base).matrix.to_numpy().min() > 1 - 1e-6


def test_rows_that_an_adapter_does_not_name_are_said_to_stay(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", fused(split()), config=CONFIG)
    tensors, config = lora()
    diff = ftdiff.compare(base, situations.write_lora(tmp_path / "lora", tensors, **config))
    (record,) = (r for r in diff.about["reasons"] if r["code"] == "joined")
    assert record["still"] == ["48–95 of gate_up_proj (up_proj)", "32–47 of qkv_proj (k_proj)"]
    (note,) = (note for note in diff.about["notes"] if "qkv_proj" in note)
    assert "nothing changes rows 48–95 of gate_up_proj (up_proj)" in note


def test_fused_adapter_and_merge_on_a_split_base(tmp_path: Path) -> None:
    tensors: Tensors = {}
    change = {}
    for i, (name, W) in enumerate(fused(split()).items()):
        if "qkv_proj" in name or "gate_up" in name:
            at = f"base_model.model.{name.removesuffix('.weight')}"
            A, B = _random(i, 4, HIDDEN) / 8, _random(i + 50, len(W), 4) / 8
            tensors |= {f"{at}.lora_A.weight": A, f"{at}.lora_B.weight": B}
            change[name] = 2 * B @ A
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["qkv_proj", "gate_up_proj"]}
    base = write_model(tmp_path / "base", split(), config={**CONFIG, "model_type": "llama"})
    adapter = situations.write_lora(tmp_path / "lora", tensors, **config)
    whole = {name: W + change.get(name, 0) for name, W in fused(split()).items()}
    model = write_model(tmp_path / "merged", whole, config=CONFIG)
    wanted = situations.relative_norm(fused(split()), whole)
    frames = []
    for tuned in (adapter, model):
        diff = ftdiff.compare(base, tuned)
        assert diff.about["coverage"] == 1.0
        assert diff.whole("moved")["relative_norm"] == pytest.approx(wanted, rel=1e-6)
        frames.append(diff.frame.set_index("tensor"))
    for name, dW in change.items():
        inner = float((dW.double() * fused(split())[name].double()).sum())
        for frame in frames:
            assert frame.loc[name, "inner"] == pytest.approx(inner, rel=1e-4, abs=1e-4)
    assert ftdiff.verify(base, adapter, model).ok
    assert ftdiff.similarity([adapter, model], base=base).matrix.to_numpy().min() > 1 - 1e-6


def test_a_split_and_a_fused_fine_tune_of_a_split_base_are_lined_up(tmp_path: Path) -> None:
    tensors, config = lora()
    whole = merged(split(), tensors, config)
    base = write_model(tmp_path / "base", split(), config={**CONFIG, "model_type": "llama"})
    one = write_model(tmp_path / "split", whole, config=CONFIG)
    two = write_model(tmp_path / "fused", fused(whole), config=CONFIG)
    adapter = situations.write_lora(tmp_path / "lora", tensors, **config)
    for order in ([one, two, adapter], [two, adapter, one]):
        found = ftdiff.similarity(order, base=base)
        assert found.matrix.to_numpy().min() > 1 - 1e-6
    path = ftdiff.trajectory(base, [one, two])
    assert path.steps is not None


def test_biases_are_joined_too(tmp_path: Path) -> None:
    base = split(bias=True)
    tuned = {k: v + (1.0 if "v_proj.bias" in k else 0.0) for k, v in base.items()}
    folder = write_model(tmp_path / "base", fused(base), config=CONFIG)
    diff = ftdiff.compare(folder, write_model(tmp_path / "tuned", tuned, config=CONFIG))
    assert diff.about["coverage"] == 1.0
    moved = diff.frame[diff.frame["status"] == "changed"]
    assert [*moved["tensor"]] == [f"model.layers.{i}.self_attn.qkv_proj.bias" for i in (0, 1)]
    assert moved["delta_sq"].to_list() == pytest.approx([KEYS, KEYS], rel=1e-6)


def test_ranks_that_differ_are_under_their_own_scales(tmp_path: Path) -> None:
    tensors, config = lora(rank_pattern={"v_proj": 2})
    base = write_model(tmp_path / "base", fused(split()), config=CONFIG)
    adapter = situations.write_lora(tmp_path / "lora", tensors, **config)
    whole = merged(split(), tensors, config)
    wanted = situations.relative_norm(fused(split()), fused(whole))
    diff = ftdiff.compare(base, adapter)
    assert diff.whole("moved")["relative_norm"] == pytest.approx(wanted, rel=1e-6)
    scaling = diff.about["scalings"]["model.layers.0.self_attn.qkv_proj.weight"]
    assert scaling.count("α/r") == 2
    model = write_model(tmp_path / "merged", whole, config=CONFIG)
    assert ftdiff.verify(base, adapter, model).ok


def test_parts_of_a_dora_are_joined_over_their_own_rows(tmp_path: Path) -> None:
    tensors, config = lora(use_dora=True)
    whole = dict(split())
    for name, W in split().items():
        at = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{at}.lora_A.weight" in tensors:
            m = W.norm(dim=1) * 1.5
            tensors[f"{at}.lora_magnitude_vector"] = m
            V = W + 2 * tensors[f"{at}.lora_B.weight"] @ tensors[f"{at}.lora_A.weight"]
            whole[name] = m[:, None] * V / V.norm(dim=1, keepdim=True)
    base = write_model(tmp_path / "base", fused(split()), config=CONFIG)
    diff = ftdiff.compare(base, situations.write_lora(tmp_path / "lora", tensors, **config))
    wanted = situations.relative_norm(fused(split()), fused(whole))
    assert diff.about["coverage"] == 1.0
    assert diff.whole("moved")["relative_norm"] == pytest.approx(wanted, rel=1e-5)


def _gpt2(tensors: Tensors) -> Tensors:
    """Return attention as GPT-2 stores it: one tensor, its inputs the rows."""
    found = {}
    for layer in range(LAYERS):
        rows = [tensors[f"model.layers.{layer}.self_attn.{part}.weight"] for part in ATTN]
        found[f"h.{layer}.attn.c_attn.weight"] = torch.cat(rows).T.contiguous()
    return found


def test_what_is_stored_turned_is_joined_by_columns(tmp_path: Path) -> None:
    tensors, config = lora()
    tensors = {k.replace("model.layers", "h"): v for k, v in tensors.items() if "_attn." in k}
    tensors = {k.replace("self_attn", "attn"): v for k, v in tensors.items() if "o_proj" not in k}
    whole = merged(split(), lora()[0], config)
    own = {f"h.{i}.attn.{part}.weight": whole[f"model.layers.{i}.self_attn.{part}.weight"]
           for i in range(LAYERS) for part in ATTN}  # fmt: skip
    base = write_model(tmp_path / "base", _gpt2(split()), config={"model_type": "gpt2"})
    wanted = situations.relative_norm(_gpt2(split()), _gpt2(whole))
    inner = sum(
        float(((_gpt2(whole)[n].double() - W.double()) * W.double()).sum())
        for n, W in _gpt2(split()).items()
    )
    adapter = situations.write_lora(tmp_path / "lora", tensors, **config)
    model = write_model(tmp_path / "merged", own, config=CONFIG)
    for tuned in (adapter, model):
        diff = ftdiff.compare(base, tuned)
        assert diff.about["coverage"] == 1.0
        assert diff.whole("moved")["relative_norm"] == pytest.approx(wanted, rel=1e-6)
        assert diff.frame["inner"].sum() == pytest.approx(inner, rel=1e-4)
    assert ftdiff.verify(base, adapter, model).ok


NEOX = {"model_type": "gpt_neox", "num_attention_heads": HEADS, "hidden_size": HIDDEN}


def _by_head(tensors: Tensors) -> Tensors:
    """Return attention as GPT-NeoX stores it: the rows of each head's q, k and v together."""
    found = {}
    for layer in range(LAYERS):
        parts = [tensors[f"gpt_neox.layers.{layer}.attention.{part}.weight"] for part in ATTN]
        heads = torch.stack([part.reshape(HEADS, -1, HIDDEN) for part in parts], dim=1)
        found[f"gpt_neox.layers.{layer}.attention.query_key_value.weight"] = heads.reshape(
            -1, HIDDEN
        )
    return found


def _neox(seed: int) -> Tensors:
    names = [f"gpt_neox.layers.{i}.attention.{part}.weight" for i in range(LAYERS) for part in ATTN]
    return {name: _random(seed + i, HIDDEN, HIDDEN) for i, name in enumerate(names)}


def test_rows_that_lie_head_by_head_are_put_in_order(tmp_path: Path) -> None:
    base, tuned = _neox(1), {name: W + _random(9, *W.shape) / 9 for name, W in _neox(1).items()}
    still = "gpt_neox.layers.0.attention.k_proj.weight"
    tuned[still] = base[still]
    fused_base = write_model(tmp_path / "base", _by_head(base), config=NEOX)
    split_base = write_model(tmp_path / "split", base, config={"model_type": "llama"})
    fused_tuned = write_model(tmp_path / "fused", _by_head(tuned), config=NEOX)
    split_tuned = write_model(tmp_path / "tuned", tuned, config={"model_type": "llama"})
    reference = ftdiff.compare(fused_base, fused_tuned)
    for one, two in ((fused_base, split_tuned), (split_base, fused_tuned)):
        diff = ftdiff.compare(one, two)
        for sums in ("delta_sq", "inner", "unequal"):
            assert diff.frame[sums].sum() == pytest.approx(reference.frame[sums].sum(), rel=1e-9)
    tensors, config = {}, {"r": 2, "lora_alpha": 2, "target_modules": ["q_proj", "v_proj"]}
    whole = dict(base)
    for i, name in enumerate(base):
        if "k_proj" not in name:
            A, B = _random(i, 2, HIDDEN) / 9, _random(i + 40, HIDDEN, 2) / 9
            at = f"base_model.model.{name.removesuffix('.weight')}"
            tensors |= {f"{at}.lora_A.weight": A, f"{at}.lora_B.weight": B}
            whole[name] = base[name] + B @ A
    adapter = situations.write_lora(tmp_path / "lora", tensors, **config)
    model = write_model(tmp_path / "merged", _by_head(whole), config=NEOX)
    assert ftdiff.verify(fused_base, adapter, model).ok
    found = ftdiff.similarity([adapter, model], base=fused_base)
    assert found.matrix.to_numpy().min() > 1 - 1e-6


@pytest.mark.parametrize("config", [{}, {"model_type": "gpt_neox"}, {"model_type": "unheard_of"}])
def test_an_order_that_nothing_tells_is_not_guessed(tmp_path: Path, config: dict[str, Any]) -> None:
    base = {**_by_head(_neox(1)), "embed.weight": _random(3, 9, HIDDEN)}
    tuned = {**_neox(5), "embed.weight": _random(3, 9, HIDDEN)}
    folder = write_model(tmp_path / "base", base, config=config)
    diff = ftdiff.compare(folder, write_model(tmp_path / "tuned", tuned, config={}))
    assert diff.about["counts"]["added"] == 6 and diff.about["counts"]["removed"] == 2
    assert diff.about["coverage"] < 0.1
    assert "fused-layout-unknown" in _codes(diff)
    assert "in which order the rows lie" in " ".join(diff.about["notes"])
    assert "row-layout" in {one.rule for one in ftdiff.audit(diff).findings}


def test_what_has_parts_of_other_sizes_is_left_alone(tmp_path: Path) -> None:
    base = {"layers.0.attn.qkv.weight": _random(1, 12, 8), "embed.weight": _random(3, 9, 8)}
    tuned = {f"layers.0.attn.{x}.weight": _random(2, 5, 8) for x in "qkv"}
    folder = write_model(tmp_path / "base", base, config={})
    model = write_model(tmp_path / "tuned", {**tuned, "embed.weight": _random(3, 9, 8)}, config={})
    diff = ftdiff.compare(folder, model)
    assert diff.about["counts"]["added"] == 3 and diff.about["counts"]["removed"] == 1


def test_a_checkpoint_that_lacks_a_part_is_not_joined(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", fused(split()), config=CONFIG)
    tuned = {k: v for k, v in split().items() if "layers.0.self_attn.k_proj" not in k}
    diff = ftdiff.compare(base, write_model(tmp_path / "tuned", tuned, config=CONFIG))
    assert diff.about["counts"]["removed"] == 1 and diff.about["counts"]["added"] == 2
    assert json.dumps(diff.about["notes"])
