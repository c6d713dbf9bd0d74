"""Settings of real adapters that name modules in a roundabout way: nothing is missing or stray."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import ftdiff
from ftdiff.comparison.alignment.layers import OWN
from ftdiff.reports.document import document
from tests.cases import situations
from tests.conftest import write_model

EMBED, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
SPARSE = "model.layers.0.block_sparse_moe"
EXPERTS, ROWS, WIDE = 2, 48, 32


def rules(base: Path, tuned: Path) -> set[str]:
    """Return the rules that find more than a note."""
    found = ftdiff.audit(ftdiff.compare(base, tuned)).findings
    return {one.rule for one in found if one.severity != "note"}


def experts(parts: Mapping[str, str], home: str) -> dict[str, torch.Tensor]:
    """Return a layer's experts, each part in a tensor of its own, under the names given."""
    draw = torch.Generator().manual_seed(2)
    shapes = {"gate": (ROWS, WIDE), "up": (ROWS, WIDE), "down": (WIDE, ROWS)}
    return {
        f"{home}.experts.{expert}.{parts[part]}.weight": torch.randn(shape, generator=draw)
        for expert in range(EXPERTS)
        for part, shape in shapes.items()
    }


def stacked(home: str = "model.layers.0.mlp.experts") -> dict[str, torch.Tensor]:
    """Return the factors that PEFT saves of stacked experts: down's around those of gate and up."""
    draw = torch.Generator().manual_seed(4)
    rank = EXPERTS * situations.RANK
    shapes = {
        "base_layer.lora_A": (rank, WIDE),
        "base_layer.lora_B": (2 * ROWS, rank),
        "lora_A": (rank, ROWS),
        "lora_B": (WIDE, rank),
    }
    made = {part: torch.randn(shape, generator=draw) / 20 for part, shape in shapes.items()}
    return {f"base_model.model.{home}.{part}.weight": W for part, W in made.items()}


MIXTRAL = {"gate": "w1", "up": "w3", "down": "w2"}
QWEN = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}


@pytest.mark.parametrize(("parts", "home"), [(MIXTRAL, SPARSE), (QWEN, "model.layers.0.mlp")])
@pytest.mark.parametrize(
    "named",
    [["mlp.experts.gate_up_proj", "mlp.experts.down_proj"], ["gate_up_proj", "down_proj"]],
)
def test_stacked_experts_are_loaded_onto_experts_stored_apart(
    tmp_path: Path, parts: Mapping[str, str], home: str, named: list[str]
) -> None:
    state = {**situations.state(), **experts(parts, home)}
    config = {**situations.CONFIG, "model_type": "mixtral" if parts is MIXTRAL else "qwen3_moe"}
    base = write_model(tmp_path / "base", state, config=config)
    held = {**situations.factors(targets=["q_proj"]), **stacked()}
    lora = situations.write_lora(
        tmp_path / "lora", held, target_modules=["q_proj"], target_parameters=named
    )
    diff = ftdiff.compare(base, lora)
    assert diff.about["counts"]["measured"] == situations.LAYERS + 3 * EXPERTS
    assert diff.about["coverage"] == 1.0 and rules(base, lora) == set()


def test_a_router_is_found_under_its_name_in_memory(tmp_path: Path) -> None:
    state = {**situations.state(), f"{SPARSE}.gate.weight": torch.randn(EXPERTS, WIDE)}
    state |= experts(MIXTRAL, SPARSE)
    config = {**situations.CONFIG, "model_type": "mixtral"}
    base = write_model(tmp_path / "base", state, config=config)
    at = "base_model.model.model.layers.0.mlp.gate"
    gate = {
        f"{at}.lora_A.weight": torch.randn(situations.RANK, WIDE),
        f"{at}.lora_B.weight": torch.randn(EXPERTS, situations.RANK),
    }
    held = {**situations.factors(targets=["q_proj"]), **stacked(), **gate}
    named = ["down_proj", "gate.weight", "gate_up_proj"]
    lora = situations.write_lora(
        tmp_path / "lora", held, target_modules=["q_proj"], target_parameters=named
    )
    diff = ftdiff.compare(base, lora)
    assert diff.about["counts"]["measured"] == situations.LAYERS + 3 * EXPERTS + 1
    assert rules(base, lora) == set()


def test_a_target_that_is_excluded_is_not_missing(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    targets = [*situations.TARGETS, "o_proj"]
    for excluded in (["o_proj"], ".*o_proj"):
        lora = situations.write_lora(
            tmp_path / str(len(excluded)), target_modules=targets, exclude_modules=excluded
        )
        assert rules(base, lora) == set()
    lora = situations.write_lora(tmp_path / "lora", target_modules=targets)
    assert "target-missing" in rules(base, lora)


def test_a_saved_module_is_any_whose_path_ends_so(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    norms = {name: W + 0.1 for name, W in situations.state().items() if "norm" in name}
    saved = {f"base_model.model.{name}": W for name, W in norms.items()}
    tensors = {**situations.factors(), **saved}
    lora = situations.write_lora(tmp_path / "lora", tensors, modules_to_save=["norm"])
    assert NORM in norms and len(norms) > 1
    assert rules(base, lora) == set()


@pytest.mark.parametrize("off", [0.0, 0.1])
def test_a_head_saved_as_a_copy_of_its_embedding_is_still_tied(tmp_path: Path, off: float) -> None:
    state = situations.state()
    del state[HEAD]
    base = write_model(
        tmp_path / "base", state, config={**situations.CONFIG, "tie_word_embeddings": True}
    )
    embed = state[EMBED] + 0.01 * torch.randn(state[EMBED].shape)
    saved: dict[str, Any] = {EMBED: embed, HEAD: embed + off}
    tensors = {**situations.factors(), **{f"base_model.model.{k}": W for k, W in saved.items()}}
    lora = situations.write_lora(tmp_path / "lora", tensors, modules_to_save=["embed_tokens"])
    assert ("untied" in rules(base, lora)) == bool(off)
    assert ("untargeted-moved" in rules(base, lora)) == bool(off)


@pytest.mark.parametrize("order", [[0, 1, 2, 1, 2, 3], [0, 1, 3], [3, 1, 2, 0]])
def test_a_base_whose_layers_were_moved_is_not_the_base(tmp_path: Path, order: list[int]) -> None:
    state = situations.state()
    moved = {name: W for name, W in state.items() if ".layers." not in name}
    for new, old in enumerate(order):
        start = f"model.layers.{old}."
        for name in (name for name in state if name.startswith(start)):
            moved[name.replace(start, f"model.layers.{new}.")] = state[name].clone()
    base = situations.write_base(tmp_path / "base")
    config = {**situations.CONFIG, "num_hidden_layers": len(order)}
    tuned = write_model(tmp_path / "tuned", moved, config=config)
    diff = ftdiff.compare(base, tuned)
    found = {one.rule for one in ftdiff.audit(diff).findings}
    assert "layers" in found and "nothing-moved" not in found
    assert OWN not in str(document(diff).cautions)


def test_a_tensor_without_entries_has_not_moved(tmp_path: Path) -> None:
    merged = situations.merged()
    empty = {k: W[:0].reshape(-1) if ".layers.1." in k else W for k, W in merged.items()}
    base = situations.write_base(tmp_path / "base")
    tuned = write_model(tmp_path / "tuned", empty, config=situations.CONFIG)
    diff = ftdiff.compare(base, tuned)
    found = ftdiff.audit(diff).findings
    assert not [one for one in found if one.rule == "partly-frozen"]
    assert "the common 0 entries" not in str(document(diff).cautions)


def test_another_width_is_no_other_vocabulary(tmp_path: Path) -> None:
    narrow = {k: W[..., :16] if k in (EMBED, HEAD) else W for k, W in situations.merged().items()}
    base = situations.write_base(tmp_path / "base")
    tuned = write_model(tmp_path / "tuned", narrow, config=situations.CONFIG)
    assert rules(base, tuned) == {"other-shape"}


def test_a_tower_beside_the_model_is_below_it_in_memory(tmp_path: Path) -> None:
    tower = "visual.blocks.0.attn.proj"
    state = {**situations.state(), f"{tower}.weight": torch.randn(32, 32)}
    base = write_model(
        tmp_path / "base", state, config={**situations.CONFIG, "model_type": "qwen2_vl"}
    )
    held = {
        key.replace("model.model.layers", "model.model.language_model.layers"): tensor
        for key, tensor in situations.factors().items()
    }
    for side in ("A", "B"):
        at = f"base_model.model.model.{tower}.lora_{side}.weight"
        held[at] = torch.randn(4, 32) if side == "A" else torch.randn(32, 4)
    lora = situations.write_lora(
        tmp_path / "lora", held, target_modules=[*situations.TARGETS, "proj"]
    )
    assert rules(base, lora) == set()
    assert ftdiff.compare(base, lora).about["counts"]["measured"] == 13


def test_of_a_saved_modules_biases_the_trained_one_is_read(tmp_path: Path) -> None:
    state = {**situations.state(), "score.weight": torch.ones(3, 32), "score.bias": torch.ones(3)}
    base = write_model(tmp_path / "base", state, config=situations.CONFIG)
    copies = {"score.": 2.0, "score.modules_to_save.": 2.0, "score.original_module.": 1.0}
    saved = {f"base_model.model.{at}bias": torch.full((3,), value) for at, value in copies.items()}
    weight = {"base_model.model.score.weight": torch.full((3, 32), 2.0)}
    tensors = {**situations.factors(), **saved, **weight}
    lora = situations.write_lora(tmp_path / "lora", tensors, modules_to_save=["score"], bias="all")
    diff = ftdiff.compare(base, lora)
    rows = diff.frame.set_index("tensor")
    assert rows.loc["score.bias", "delta_sq"] == pytest.approx(3.0)
    assert "unmatched" not in rules(base, lora)
