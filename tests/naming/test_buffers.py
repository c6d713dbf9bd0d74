"""Tables, masks and counters are told from what is trained by name, shape and company."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftdiff.naming.buffers import buffers
from tests.conftest import FIXTURES

ATTENTION = {"h.0.attn.c_attn.weight": (8, 24), "h.0.attn.c_attn.bias": (24,)}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("h.0.attn.bias", (1, 1, 32, 32)),
        ("h.0.attn.bias", (32, 32)),
        ("h.0.attn.masked_bias", ()),
        ("h.0.attn.masked_bias", (1,)),
        ("h.0.attn.rotary_emb.inv_freq", (4,)),
        ("h.0.attn.causal_mask", (1, 1, 32, 32)),
        ("embeddings.position_ids", (1, 512)),
        ("bn.num_batches_tracked", ()),
        ("h.0.attn.relative_position_index", (49, 49)),
        ("h.0.attn_mask", (4, 49, 49)),
        ("alphas_cumprod", (1000,)),
        ("rope.freqs", (64,)),
    ],
)
def test_what_nothing_trains_is_a_buffer(name: str, shape: tuple[int, ...]) -> None:
    assert [*buffers({**ATTENTION, name: shape})] == [name]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("h.0.attn.c_attn.bias", (24,)),
        ("h.0.attn.bias", (32,)),
        ("h.0.attn.bias", (2, 32, 32)),
        ("h.0.attn.bias", (1, 4, 32, 32)),
        ("h.0.mlp.bias", (1, 1, 32, 32)),
        ("h.0.attn.masked_bias", (32,)),
        ("h.0.attn.inv_freq", (4, 8)),
        ("position_ids", (512, 64)),
        ("embeddings.position_ids.weight", (1, 512)),
        ("h.0.betas", (1000,)),
        ("bn.running_mean", (8,)),
        ("gate.e_score_correction_bias", (8,)),
    ],
)
def test_what_looks_alike_and_may_be_trained_is_none(name: str, shape: tuple[int, ...]) -> None:
    assert not [*buffers({**ATTENTION, name: shape})]


def test_an_attention_with_a_weight_of_its_own_has_a_bias_of_its_own() -> None:
    assert not [*buffers({**ATTENTION, "h.0.attn.weight": (8, 8), "h.0.attn.bias": (8, 8)})]


@pytest.mark.parametrize(
    "path", sorted((FIXTURES / "names").glob("*.json")), ids=lambda path: path.stem
)
def test_no_parameter_of_a_known_model_is_taken_for_one(path: Path) -> None:
    shapes = json.loads(path.read_text())
    assert not [*buffers({name: tuple(shape) for name, shape in shapes.items()})]
