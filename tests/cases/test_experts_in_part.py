"""What moved in part of a layer is told by its experts; sizes and opposites are what they are."""

from __future__ import annotations

from collections.abc import Collection

import pytest
import torch

import ftdiff
from tests.cases.situations import factors, merged, state

State = dict[str, torch.Tensor]
EXPERT = "model.layers.{}.mlp.experts.{}.up_proj.weight"
PLACES = [(i, e) for i in range(3) for e in range(4)]


def mixture(moved: Collection[tuple[int, int]] = ()) -> State:
    """Return three layers of four experts, some of which moved."""
    draw = torch.Generator().manual_seed(0)
    found = {at: torch.randn(16, 16, generator=draw) for at in PLACES}
    tuned = {at: W + 0.02 * W.flip(0) if at in moved else W for at, W in found.items()}
    return {EXPERT.format(*at): W for at, W in tuned.items()}


@pytest.mark.parametrize(
    ("moved", "said"),
    [
        (
            [(i, 1) for i in range(3)],
            "in layers 0–2: expert 1 moved, experts 0, 2 and 3 are the base's.",
        ),
        (
            [(0, e) for e in range(4)] + [(1, e) for e in (0, 1, 2)],
            "in layer 1: experts 0, 1 and 2 moved, expert 3 is the base's; it moved in layer 0 and "
            "is the base's in layer 2.",
        ),
        (
            [(0, 1), (1, 2)],
            "moved in 2 of 8 matrices of experts in layers 0–1, where the others are the base's; "
            "it is the base's in layer 2.",
        ),
        (
            [(0, e) for e in range(4)],
            "moved in layer 0 and is the base's in layers 1–2.",
        ),
    ],
)
def test_experts_that_were_trained_alone_are_named(moved: list[tuple[int, int]], said: str) -> None:
    found = ftdiff.audit(ftdiff.compare(mixture(), mixture(moved))).findings
    (one,) = [one for one in found if one.rule == "partly-frozen"]
    assert one.message == f"mlp.up {said}"


def test_the_size_of_norms_alone_is_likened_to_no_model_s() -> None:
    base = state()
    norms = {n: W + 0.01 * W.flip(0) if W.dim() == 1 else W for n, W in base.items()}
    norms = {n: W * 1.01 if W.dim() == 1 else W for n, W in norms.items()}
    uneven = torch.linspace(0.98, 1.02, len(base["model.norm.weight"]))
    norms = {n: W * uneven if W.dim() == 1 else W for n, W in norms.items()}
    diff = ftdiff.compare(base, norms)
    assert diff.overall["relative_norm"] > 0.005
    assert not [one for one in ftdiff.findings(diff) if one.rule == "regime"]
    both = {n: W + 0.01 * W.flip(0) for n, W in base.items()}
    assert [one for one in ftdiff.findings(ftdiff.compare(base, both)) if one.rule == "regime"]


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (-1.0, "wholly: cosine −1.000"),
        (-2.0, "in part, as opposites of which b is 2 times as long: cosine"),
    ],
)
def test_an_opposite_undoes_wholly_what_is_as_long(factor: float, said: str) -> None:
    base, tuned = state(), merged(factors())
    other = {n: W + factor * (tuned[n] - W) for n, W in base.items()}
    assert opposed([tuned, other], base).startswith(f"a and b undo each other {said}")


def test_what_is_opposed_beside_others_is_undone_in_part() -> None:
    base, tuned, third = state(), merged(factors()), merged(factors(seed=5))
    other = {n: W - (tuned[n] - W) + (third[n] - W) for n, W in base.items()}
    said = "a and b undo each other in part: cosine −0.7"
    assert opposed([tuned, other], base).startswith(said)


def opposed(models: list[State], base: State) -> str:
    found = ftdiff.similarity(models, base=base)
    (one,) = [one for one in ftdiff.findings(found) if one.rule == "opposed"]
    return one.message.replace(found.names[0], "a").replace(found.names[1], "b")
