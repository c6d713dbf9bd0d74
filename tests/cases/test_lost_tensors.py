"""What a whole checkpoint lacks of its base is an alarm, where nothing says that it has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import ftdiff
from tests.cases import situations
from tests.conftest import write_model

State = dict[str, torch.Tensor]
NORM, HEAD = "model.norm.weight", "lm_head.weight"


def without(*words: str) -> State:
    merged = situations.merged()
    return {name: W for name, W in merged.items() if not any(word in name for word in words)}


def severities(base: Any, tuned: Any) -> dict[str, str]:
    found = ftdiff.audit(ftdiff.compare(base, tuned)).findings
    return {one.rule: one.severity for one in found if one.rule in ("lost-tensors", "one-sided")}


def folders(tmp_path: Path, tuned: State, **config: Any) -> tuple[Path, Path]:
    base = situations.write_base(tmp_path / "base")
    config = {**situations.CONFIG, **config}
    return base, write_model(tmp_path / "tuned", tuned, config=config)


@pytest.mark.parametrize("gone", ["layers.2.mlp.", NORM, HEAD])
def test_a_tensor_that_the_class_has_is_lost(tmp_path: Path, gone: str) -> None:
    base, tuned = folders(tmp_path, without(gone))
    assert severities(base, tuned) == {"lost-tensors": "alarm"}
    (told,) = (f for f in ftdiff.audit(ftdiff.compare(base, tuned)).findings if "lost" in f.rule)
    assert gone in told.message and all(gone in name for name in told.evidence["tensors"])


SOUND: dict[str, tuple[State, dict[str, Any], dict[str, str]]] = {
    "tied": (without(HEAD), {"tie_word_embeddings": True}, {}),
    "fewer layers": (without("layers.3."), {"num_hidden_layers": 3}, {}),
    "no head": (without(HEAD), {"architectures": ["LlamaModel"]}, {"one-sided": "caution"}),
    "another type": (without(NORM), {"model_type": "mine"}, {"one-sided": "caution"}),
    "another name": (
        {**without(NORM), "model.final_norm.weight": situations.state()[NORM]},
        {},
        {"one-sided": "caution"},
    ),
}


@pytest.mark.parametrize("why", SOUND)
def test_what_the_configuration_explains_is_not_lost(tmp_path: Path, why: str) -> None:
    state, config, said = SOUND[why]
    assert severities(*folders(tmp_path, state, **config)) == said


def test_without_a_configuration_a_hole_in_a_layer_is_told_and_a_part_is_not() -> None:
    base = situations.state()
    assert severities(base, without("layers.2.mlp.up_proj")) == {"lost-tensors": "alarm"}
    for part in (NORM, HEAD, "k_proj"):
        assert severities(base, without(part)) == {"one-sided": "caution"}


def test_biases_go_where_their_setting_goes(tmp_path: Path) -> None:
    biases = {f"model.layers.{i}.self_attn.q_proj.bias": torch.ones(32) for i in range(4)}
    config = {**situations.CONFIG, "attention_bias": True}
    base = write_model(tmp_path / "base", {**situations.state(), **biases}, config=config)
    for value, rule in ((True, "lost-tensors"), (False, "one-sided")):
        config = {**situations.CONFIG, "attention_bias": value}
        tuned = write_model(tmp_path / str(value), situations.merged(), config=config)
        assert [*severities(base, tuned)] == [rule]


def test_modules_for_further_tokens_are_not_saved_by_transformers(tmp_path: Path) -> None:
    more = {"mtp.layers.0.mlp.up_proj.weight": torch.ones(8, 4), "mtp.norm.weight": torch.ones(4)}
    base = write_model(
        tmp_path / "base", {**situations.state(), **more}, config={**situations.CONFIG}
    )
    tuned = write_model(tmp_path / "tuned", situations.merged(), config={**situations.CONFIG})
    assert severities(base, tuned) == {"one-sided": "caution"}
