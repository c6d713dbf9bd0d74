"""Every other closed form: ΔW, its norm, inner product and spectrum equal PEFT's own merge."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import ftdiff
from ftdiff.deltas.forms import Hadamard, Kronecker, LowRank
from ftdiff.deltas.recipes import Added, Rebuilt
from ftdiff.errors import BadAdapter
from ftdiff.formats.note import Note
from ftdiff.tensors import matrix_shape
from tests.oracle import models
from tests.oracle.agreement import (
    assert_agrees,
    merge_difference,
    opened,
)
from tests.oracle.closed_forms import CASES, Case, Shelf, saved


@pytest.mark.parametrize("name", CASES)
def test_the_change_is_what_the_merge_adds(name: str, shelf: Shelf) -> None:
    model, base, adapter = shelf(name)
    wanted = merge_difference(model, adapter)
    assert any(dW.any() for dW in wanted.values())
    tuned = assert_agrees(base, adapter, wanted)
    assert not tuned.unmatched
    assert tuned.kind == CASES[name].type.lower()


FORMS = {"loha": Hadamard, "lokr": Kronecker, "gralora": LowRank, "delora": LowRank}
ALONE = [
    name for name, case in CASES.items() if case.type not in ("IA3", "TRAINABLE_TOKENS", "VERA")
]


@pytest.mark.parametrize("name", [*FORMS, "adalora", "vblora", "vera"])
def test_no_change_is_multiplied_out(name: str, shelf: Shelf) -> None:
    _, base, adapter = shelf(name)
    _, tuned = opened(base, adapter)
    recipes = tuned.recipes.values()
    assert all(isinstance(recipe, Added) for recipe in recipes)
    assert {type(recipe.delta(None)) for recipe in recipes} == {FORMS.get(name, LowRank)}


@pytest.mark.parametrize("name", ALONE)
def test_without_a_base_the_norms_are_the_same(name: str, shelf: Shelf) -> None:
    _, base, adapter = shelf(name)
    _, tuned = opened(base, adapter)
    alone = ftdiff.open_tuned(adapter)
    assert alone.recipes.keys() == tuned.recipes.keys()
    for tensor, recipe in tuned.recipes.items():
        if isinstance(recipe, Added):
            expected = recipe.delta(None).sumsq()
            assert alone.recipes[tensor].delta(None).sumsq() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["ia3", "vera"])
def test_what_needs_the_base_asks_for_it(name: str, shelf: Shelf) -> None:
    _, _, adapter = shelf(name)
    for recipe in ftdiff.open_tuned(adapter).recipes.values():
        with pytest.raises(BadAdapter, match=r"give the base$"):
            recipe.moments(None)


ORIGINS = {
    "adalora": "α/(r + 1e-05) = 5/6, init_r in adapter_config.json",
    "adalora without alpha, pruned": "α/(r + 1e-05) = 4 (for lora_alpha = 0)/6, init_r in",
    "gralora with a plain pair": "/8, hybrid_r = 2 in adapter_config.json",
    "loha": "α/r = 3/2, adapter_config.json",
    "loha patterns": "α/r = 9/3, alpha_pattern 'k_proj' in adapter_config.json",
    "lokr": "α/r = 3/2, adapter_config.json",
    "lokr both whole": "α/r = 3/20, r in adapter_config.json",
    "lokr patterns, whole": "α/r = 4/20, rank_pattern 'q_proj' in adapter_config.json",
}


@pytest.mark.parametrize(("name", "told"), ORIGINS.items())
def test_every_factor_says_where_it_came_from(name: str, told: str, shelf: Shelf) -> None:
    _, base, adapter = shelf(name)
    _, tuned = opened(base, adapter)
    assert any(told in origin for origin in tuned.scalings.values()), tuned.scalings
    assert all(tuned.scalings.values())


def test_the_head_follows_trained_tokens_where_the_model_ties_it(tmp_path: Path) -> None:
    case = Case("TRAINABLE_TOKENS", ["wte"], {"token_indices": [3, 1]}, models.gpt2)
    model, base, adapter = saved(case, tmp_path)
    config = {"model_type": "gpt2", "tie_word_embeddings": True}
    (base / "config.json").write_text(json.dumps(config))
    wanted = merge_difference(model, adapter)
    assert wanted["lm_head.weight"].any()
    assert_agrees(base, adapter, wanted)


def test_a_rank_that_the_configuration_does_not_name_is_said(shelf: Shelf) -> None:
    _, base, adapter = shelf("adalora pruned")
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rank_pattern": None}))
    _, tuned = opened(base, adapter)
    assert "factors of rank 4 where init_r says 6: the factors' own is used" in tuned.notes
    codes = {n.code for n in tuned.notes if isinstance(n, Note)}
    assert codes == {"rank-differs", "would-not-load"}


@pytest.mark.parametrize("name", ["ia3", "ia3 Conv1D", "ia3 convolutions", "ia3 grouped outputs"])
def test_the_change_of_a_row_does_not_depend_on_where_rows_are_cut(name: str, shelf: Shelf) -> None:
    _, base, adapter = shelf(name)
    checkpoint, tuned = opened(base, adapter)
    for tensor, recipe in tuned.recipes.items():
        assert isinstance(recipe, Rebuilt)
        held = checkpoint.tensors[tensor]
        W = held.read().reshape(matrix_shape(held.shape))
        rule = recipe.maker.make(held)
        cut = len(W) // 2 - 1
        parts = [rule.rows(W[:cut], 0), rule.rows(W[cut:], cut)]
        np.testing.assert_array_equal(np.concatenate(parts), rule.rows(W, 0))


def test_logits_of_any_size_are_weighed(tmp_path: Path) -> None:
    def far(model: nn.Module) -> None:
        for name, tensor in model.named_parameters():
            if "vblora_logits" in name:
                tensor.mul_(5000.0)

    case = replace(CASES["vblora"], change=far)
    model, base, adapter = saved(case, tmp_path)
    assert_agrees(base, adapter, merge_difference(model, adapter))
