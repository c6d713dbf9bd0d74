"""Where no matrix of the layers moved, what did beside them is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import ftdiff
from ftdiff.reports import glance
from ftdiff.reports.terminal.compare import show
from tests.cases.situations import LAYERS, state

State = dict[str, torch.Tensor]


def _moved(*words: str) -> State:
    return {n: 1.25 * W + 0.01 if any(w in n for w in words) else W for n, W in state().items()}


def _swapped() -> State:
    order, found = {0: 0, 1: 2, 2: 1, 3: 3}, state()
    for name, W in state().items():
        for layer in range(LAYERS):
            if f"layers.{layer}." in name:
                found[name.replace(f"layers.{layer}.", f"layers.{order[layer]}.")] = W
    return found


ELSEWHERE = "of layers that stand elsewhere there"
NONE = "none of 28 matrices in layers moved; beside them, "


@pytest.mark.parametrize(
    ("tuned", "said"),
    [
        (lambda: _moved("lm_head"), f"{NONE}1 tensor did: head.lm"),
        (lambda: _moved("embed_tokens", "lm_head"), f"{NONE}2 tensors did: embed.tokens, head.lm"),
        (
            lambda: _moved("norm"),
            f"{NONE}9 tensors did: norm.input, norm.post_attention, norm.final",
        ),
        (state, "nothing moved: all 28 weights are the base's"),
        (_swapped, f"no weight changed: all 28 weights are the base's, {ELSEWHERE}"),
    ],
)
def test_what_moved_beside_the_layers_is_named(
    tuned: Callable[[], State], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    diff = ftdiff.compare(state(), tuned())
    show(diff)
    assert f"{said}." in capsys.readouterr().out.splitlines()
    assert f"{said}." in glance.text(diff).splitlines()
    assert said.replace("'", "&#39;") in glance.html(diff)


def test_a_tower_names_what_moved_in_it_alone(capsys: pytest.CaptureFixture[str]) -> None:
    def tower(seed: int) -> State:
        draw = torch.Generator().manual_seed(seed)
        names = [f"vision_tower.layers.{i}.mlp.fc1.weight" for i in range(2)]
        names += [f"language_model.layers.{i}.mlp.up_proj.weight" for i in range(2)]
        names += ["vision_tower.post_layernorm.weight"]
        shapes = [(16, 16)] * 4 + [(16,)]
        return {
            n: torch.randn(shape, generator=draw) for n, shape in zip(names, shapes, strict=True)
        }

    base = tower(0)
    for also, said in (
        ((), "vision · nothing moved: all 2 weights are the base's"),
        (("post_layernorm",), "vision · none of 2 matrices in layers moved; beside them, 1 tensor"),
    ):
        words = ("language_model", *also)
        tuned = {n: W + 0.01 * W.flip(0) if any(w in n for w in words) else W
                 for n, W in base.items()}  # fmt: skip
        show(ftdiff.compare(base, tuned))
        assert said in capsys.readouterr().out
