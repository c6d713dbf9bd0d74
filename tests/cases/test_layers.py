"""Layers that were inserted, removed, copied or moved are found before any number is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ftdiff
from ftdiff.analyses import parts
from ftdiff.comparison.alignment.layers import OWN
from tests.cases import situations
from tests.conftest import write_model

State = dict[str, torch.Tensor]


def nudged(state: State, by: float = 0.01) -> State:
    draw = torch.Generator().manual_seed(11)
    return {k: W + by * torch.randn(W.shape, generator=draw) * W.std() for k, W in state.items()}


def arranged(state: State, order: Sequence[int | None]) -> State:
    """Return a model whose layers are these of a state; None for one of its own."""
    draw = torch.Generator().manual_seed(13)
    found = {name: W for name, W in state.items() if ".layers." not in name}
    for new, old in enumerate(order):
        for name, W in state.items():
            head, _, rest = name.partition(".layers.")
            layer, _, tail = rest.partition(".")
            if rest and layer == str(old or 0):
                own = torch.randn(W.shape, generator=draw) * W.std() if W.dim() > 1 else W.clone()
                found[f"{head}.layers.{new}.{tail}"] = own if old is None else W.clone()
    return found


def grown(state: State, order: Sequence[int | None]) -> State:
    """Return a model whose new layers are copies of the one before, that give nothing yet."""
    filled: list[int] = []
    for old in order:
        filled.append(filled[-1] if old is None else old)
    found = arranged(state, filled)
    for new, old in enumerate(order):
        for part in ("self_attn.o_proj", "mlp.down_proj"):
            if old is None:
                found[f"model.layers.{new}.{part}.weight"] *= 0
    return found


def compared(base: State, tuned: State) -> ftdiff.Diff:
    return ftdiff.compare(base, tuned)


def told(diff: ftdiff.Diff) -> Mapping[str, Any]:
    (found,) = (one for one in diff.about["reasons"] if one["code"] == "layers")
    return found


def sentence(diff: ftdiff.Diff) -> str:
    (found,) = (one.message for one in ftdiff.audit(diff).findings if one.rule == "layers")
    return found


def rules(diff: ftdiff.Diff) -> set[str]:
    return {one.rule for one in ftdiff.audit(diff).findings}


@pytest.mark.parametrize("make", [arranged, grown])
def test_inserted_layers_are_named_and_the_others_are_the_base_s(
    make: Callable[[State, Sequence[int | None]], State],
) -> None:
    base = situations.state()
    diff = compared(base, make(base, [0, 1, None, 2, 3, None]))
    assert sentence(diff) == (
        "6 layers where the base has 4: layers 2 and 5 were inserted; the others are the base's "
        "0–3, bit for bit."
    )
    assert told(diff)["home"] == {"0": 0, "1": 1, "3": 2, "4": 3}
    frame = diff.frame
    assert {*frame["status"]} == {"identical", "added"}
    added = frame[frame["status"] == "added"]
    assert len(added) == 18 and added["tensor"].str.startswith(OWN).all()
    assert added["layer"].isna().all() and "attn.q" in {*added["component"]}
    assert not rules(diff) & {"replaced", "rescaled", "one-sided", "partly-frozen", "nothing-moved"}
    found = {one.rule: one.message for one in ftdiff.findings(diff)}
    assert not {*found} & {"regime", "another-base"} and found["layers"] == sentence(diff)
    assert diff.overall["relative_norm"] == 0


def test_layers_that_were_inserted_are_no_other_setting_as_well(tmp_path: Path) -> None:
    state = situations.state()
    base = situations.write_base(tmp_path / "base")
    tuned = grown(state, [0, 1, None, 2, 3, None])
    config = {**situations.CONFIG, "num_hidden_layers": 6}
    diff = ftdiff.compare(base, write_model(tmp_path / "tuned", tuned, config=config))
    assert told(diff)["inserted"] == [2, 5]
    assert not rules(diff) & {"config-differs", "layers-promised"}
    config |= {"rope_theta": 1e6, "num_hidden_layers": 8}
    diff = ftdiff.compare(base, write_model(tmp_path / "other", tuned, config=config))
    (found,) = (one.message for one in ftdiff.audit(diff).findings if one.rule == "config-differs")
    assert "num_hidden_layers 4 → 8" in found and "rope_theta" in found
    assert "layers-promised" in rules(diff)


def test_a_fine_tune_of_a_grown_model_has_the_numbers_of_one_of_the_base() -> None:
    base = situations.state()
    tuned = nudged(base)
    plain, diff = compared(base, tuned), compared(base, grown(tuned, [0, None, 1, 2, None, 3]))
    assert told(diff)["inserted"] == [1, 4]
    same = diff.frame[diff.frame["status"] == "changed"].set_index("tensor")["delta_sq"]
    assert same.to_dict() == plain.frame.set_index("tensor")["delta_sq"].to_dict()
    assert "bit for bit" not in sentence(diff)


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([0, 3], "2 layers where the base has 4: the base's 1–2 were removed; layers 0–1 are the "
                 "base's 0 and 3, bit for bit."),
        ([0, 1], "2 layers where the base has 4: the base's 2–3 were removed; layers 0–1 are the "
                 "base's 0–1, bit for bit."),
        ([0, 1, 2], "3 layers where the base has 4: the base's 3 was removed; layers 0–2 are the "
                    "base's 0–2, bit for bit."),
    ],
)  # fmt: skip
def test_removed_layers_are_named(order: list[int], said: str) -> None:
    base = situations.state()
    diff = compared(base, arranged(base, order))
    assert sentence(diff) == said
    gone = diff.frame[diff.frame["status"] == "removed"]
    assert {*gone["layer"]} == {*range(4)} - {*order}
    assert not (diff.frame["status"] == "changed").any() and "one-sided" not in rules(diff)


def test_layers_that_were_added_at_the_end_keep_their_names() -> None:
    base = situations.state()
    diff = compared(base, arranged(base, [0, 1, 2, 3, None]))
    added = diff.frame[diff.frame["status"] == "added"]
    assert {*added["layer"]} == {4} and not added["tensor"].str.startswith(OWN).any()
    assert sentence(diff).startswith("5 layers where the base has 4: layer 4 was inserted; ")


def test_layers_that_stand_twice_are_each_held_against_the_one_they_copy() -> None:
    base = situations.state()
    tuned = nudged(arranged(base, [0, 1, 2, 1, 2, 3]))
    diff = compared(base, tuned)
    copies = told(diff)["copies"]
    assert sorted(copies.values()) == [1, 2] and not told(diff)["inserted"]
    assert (diff.frame["status"] == "changed").all() and len(diff.frame) == len(tuned)
    assert diff.overall["relative_norm"] == pytest.approx(0.01, rel=0.1)
    own = diff.frame[diff.frame["tensor"].str.startswith(OWN)]
    assert sorted({*own["layer"]}) == [1, 2] and len(own) == 18
    assert diff.about["coverage"] == 1.0
    assert "further copies of the base's 1–2" in sentence(diff)
    assert diff.by("layer")["tensors"].tolist()[:4] == [9, 18, 18, 9]


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [1, 0, 2, 3], [1, 2, 3, 0]])
def test_layers_in_another_order_are_found_with_the_numbers_they_have(order: list[int]) -> None:
    base = situations.state()
    tuned = nudged(base)
    plain, diff = compared(base, tuned), compared(base, arranged(tuned, order))
    columns = ["tensor", "layer", "component", "status", "delta_sq", "base_sq", "inner"]
    pair = [one.frame[columns].sort_values("tensor") for one in (plain, diff)]
    assert pair[0].to_numpy().tolist() == pair[1].to_numpy().tolist()
    assert told(diff)["home"] == {str(i): layer for i, layer in enumerate(order)}
    assert sentence(diff).startswith("Layers stand elsewhere than in the base: layers 0–3 are")
    assert ", ".join(map(str, order)) in sentence(diff)


def test_a_shift_removes_one_layer_and_inserts_another() -> None:
    base = situations.state()
    diff = compared(base, arranged(base, [1, 2, 3, None]))
    assert (told(diff)["inserted"], told(diff)["removed"]) == ([3], [0])
    assert (diff.frame["status"] == "changed").sum() == 0


def test_a_layer_that_was_made_anew_stays_where_it_stands() -> None:
    base = situations.state()
    diff = compared(base, arranged(base, [0, None, None, 3]))
    assert not diff.about["reasons"] and "replaced" in rules(diff)
    assert {*diff.frame["status"]} == {"identical", "changed"}


def test_strangers_of_another_depth_get_no_number_for_a_layer(tmp_path: Path) -> None:
    base = situations.state()
    stranger = {
        name: torch.randn(W.shape, generator=torch.Generator().manual_seed(i)) * W.std()
        for i, (name, W) in enumerate(arranged(base, [0, 1, 2, 3, 0, 1]).items())
        if W.dim() > 1
    }
    diff = compared(base, stranger)
    assert not diff.frame[diff.frame["status"] == "changed"]["layer"].notna().any()
    assert "none is like one of the base's" in sentence(diff)
    only = {name: W for name, W in base.items() if ".layers." in name}
    alone = {name: W for name, W in stranger.items() if ".layers." in name}
    diff = compared(only, alone)
    assert diff.about["coverage"] == 0 and not ftdiff.audit(diff).ok


def test_an_adapter_of_a_deeper_model_is_told_by_its_numbers(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    deeper = {
        **situations.factors(),
        **{
            k.replace("s.3.", "s.5."): W
            for k, W in situations.factors(seed=4).items()
            if "s.3." in k
        },
    }
    diff = ftdiff.compare(base, situations.write_lora(tmp_path / "lora", deeper))
    (found,) = (one for one in diff.about["reasons"] if one["code"] == "layers")
    assert found["beyond"] == [5] and "layers" in rules(diff)
    sound = ftdiff.compare(base, situations.write_lora(tmp_path / "sound"))
    assert not [one for one in sound.about["reasons"] if one["code"] == "layers"]


def test_other_commands_use_the_same_layers(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    order = [0, None, 1, 2, 3]
    deeper = {**situations.CONFIG, "num_hidden_layers": 5}
    merged = situations.merged()
    runs = [
        write_model(tmp_path / "plain", merged, config=situations.CONFIG),
        write_model(tmp_path / "grown", grown(merged, order), config=deeper),
    ]
    found = ftdiff.similarity(runs, base=base).table().to_numpy()
    assert found[0, 1] == pytest.approx(1.0)
    way = ftdiff.trajectory(base, runs)
    one, other = np.asarray(way.by()["relative_norm"], float)
    assert one == pytest.approx(other)
    said = ftdiff.verify(base, situations.write_lora(tmp_path / "lora"), runs[1])
    assert {*said.frame["status"].value_counts().index} <= {"equal", "untouched", "added"}
    best = ftdiff.lineage(runs[1], [base, runs[0]])
    assert best.parent == str(runs[0])
    rows = parts.rows(base, runs[1], "model.layers.1.self_attn.q_proj.weight")
    assert float(rows.frame["delta_sq"].sum()) > 0
