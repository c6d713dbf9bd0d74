"""Coverage is the smaller share of the two sides: nothing that was lost counts as compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import ftdiff
from ftdiff.adapters import open_tuned
from ftdiff.cli import output
from ftdiff.comparison import coverage
from ftdiff.comparison.engine import compare
from ftdiff.comparison.plan import pair
from ftdiff.deltas.recipes import Replaced, Tuned
from ftdiff.formats import Checkpoint, open_checkpoint
from ftdiff.reports.document import document
from ftdiff.reports.summary import summary
from tests.cases import situations
from tests.conftest import write_model

State = dict[str, torch.Tensor]
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
Q = "model.layers.0.self_attn.q_proj.weight"


def against(folder: Path, tuned: State, base: State | None = None) -> ftdiff.Diff:
    start = situations.state() if base is None else base
    sides = write_model(folder / "base", start), write_model(folder / "tuned", tuned)
    return ftdiff.compare(*sides)


def sizes(state: State) -> int:
    return sum(tensor.numel() for tensor in state.values())


def test_what_was_saved_empty_was_not_compared(tmp_path: Path) -> None:
    tuned = situations.merged()
    lost = tuned[EMBED].numel() + tuned[HEAD].numel()
    tuned[EMBED] = tuned[HEAD] = torch.zeros(0)
    diff = against(tmp_path, tuned)
    assert diff.about["coverage"] == diff.about["shares"]["base"]
    assert diff.about["coverage"] == pytest.approx(1 - lost / sizes(situations.state()))
    assert 0.99 < diff.about["shares"]["tuned"] < 1
    assert output.too_little(diff, 0.99) and not output.too_little(diff, 0.8)
    assert diff.about["parts"]["unreadable"] == {"tensors": 2, "parameters": 0}


def test_what_was_empty_before_is_compared(tmp_path: Path) -> None:
    base, tuned = situations.state(), situations.merged()
    base["extra"] = tuned["extra"] = torch.zeros(0, 4)
    assert against(tmp_path, tuned, base).about["coverage"] == 1.0


@pytest.mark.parametrize("cut", ["rows", "columns"])
def test_half_a_tensor_counts_for_what_of_it_fits(cut: str, tmp_path: Path) -> None:
    base, tuned = situations.state(), situations.merged()
    tuned[Q] = tuned[Q][:16] if cut == "rows" else tuned[Q][:, :16]
    shares = against(tmp_path, tuned).about["shares"]
    whole, half = sizes(base), base[Q].numel() / 2
    if cut == "rows":  # the rows that both have are compared, and all that the file holds is
        assert shares == {"base": pytest.approx(1 - half / whole), "tuned": 1.0}
    else:
        assert shares["base"] == pytest.approx(1 - 2 * half / whole)
        assert shares["tuned"] == pytest.approx(1 - half / (whole - half))


def test_factors_of_another_shape_count_on_neither_side(tmp_path: Path) -> None:
    lora, key = situations.factors(), f"base_model.model.{Q.removesuffix('.weight')}.lora_B.weight"
    whole = sizes(lora)
    lora[key] = lora[key][:16]
    base = situations.write_base(tmp_path / "base")
    about = ftdiff.compare(base, situations.write_lora(tmp_path / "lora", lora)).about
    lost = 32 * 4 + 16 * 4
    assert about["shares"]["tuned"] == pytest.approx(1 - lost / (whole - 16 * 4))
    assert about["shares"]["base"] == pytest.approx(1 - 32 * 32 / sizes(situations.state()))
    assert about["parts"]["unreadable"] == {"tensors": 2, "parameters": lost}


def test_rows_of_a_grown_vocabulary_are_of_the_fine_tune_alone(tmp_path: Path) -> None:
    tuned = situations.merged()
    tuned[EMBED] = torch.cat([tuned[EMBED], torch.ones(3, situations.HIDDEN)])
    shares = against(tmp_path, tuned).about["shares"]
    assert shares["base"] == 1.0
    assert shares["tuned"] == pytest.approx(1 - 3 * situations.HIDDEN / sizes(tuned))


def test_rows_that_were_cut_off_are_of_the_base_alone(tmp_path: Path) -> None:
    tuned = situations.merged()
    tuned[EMBED] = tuned[EMBED][:-3]
    shares = against(tmp_path, tuned).about["shares"]
    assert shares["tuned"] == 1.0
    assert shares["base"] == pytest.approx(1 - 3 * situations.HIDDEN / sizes(situations.state()))


@pytest.mark.parametrize("side", ["base", "tuned"])
def test_what_one_side_has_alone_lowers_that_side(side: str, tmp_path: Path) -> None:
    states = {"base": situations.state(), "tuned": situations.merged()}
    states[side]["extra.weight"] = torch.ones(40, 40)
    shares = against(tmp_path, states["tuned"], states["base"]).about["shares"]
    other = {"base": "tuned", "tuned": "base"}[side]
    assert shares[other] == 1.0
    assert shares[side] == pytest.approx(1 - 1600 / sizes(states[side]))


def test_nan_was_compared(tmp_path: Path) -> None:
    tuned = situations.merged()
    tuned[Q][0, 0] = float("nan")
    assert against(tmp_path, tuned).about["coverage"] == 1.0


def test_what_cannot_be_read_lowers_both_sides(tmp_path: Path) -> None:
    lora = situations.factors()
    gone = next(key for key in lora if key.endswith("lora_B.weight"))
    left = sizes(lora) - lora.pop(gone).numel()
    base = situations.write_base(tmp_path / "base")
    diff = compare(base, situations.write_lora(tmp_path / "lora", lora))
    lost = lora[gone.replace("lora_B", "lora_A")].numel()
    assert diff.about["shares"]["tuned"] == pytest.approx(1 - lost / left)
    assert diff.about["shares"]["base"] < 1


def _alone(folder: Path, **tensors: tuple[int, ...]) -> Path:
    draw = np.random.default_rng(0)
    made = {n: draw.standard_normal(shape).astype("f4") for n, shape in tensors.items()}
    save_file(made, folder / "lora.safetensors")
    return folder / "lora.safetensors"


def test_without_a_base_coverage_is_of_the_files_own_parts(tmp_path: Path) -> None:
    path = "lora_unet_down_blocks_0_to_q"
    parts = {f"{path}.lora_down.weight": (2, 6), f"{path}.lora_up.weight": (8, 2)}
    sound = compare(None, _alone(tmp_path, **parts)).about
    assert (sound["coverage"], sound["shares"]) == (1.0, {"tuned": 1.0})
    unknown = {f"{path}.lora_sideways.weight": (12,)}
    some = compare(None, _alone(tmp_path, **parts, **unknown)).about
    assert some["coverage"] == pytest.approx(28 / 40)
    refused = {"lora_unet_a.oft_blocks": (2, 2, 2), "lora_unet_b.oft_blocks": (2, 3, 3)}
    assert compare(None, _alone(tmp_path, **refused)).about["coverage"] == 0.0


def test_an_empty_part_without_a_base_is_not_read(tmp_path: Path) -> None:
    lora = {**situations.factors(), "base_model.model.lm_head.weight": torch.zeros(0)}
    path = situations.write_lora(tmp_path / "lora", lora, modules_to_save=["lm_head"])
    assert 0.99 < compare(None, path).about["coverage"] < 1


def test_the_base_of_an_adapter_is_known_where_it_is_not_named(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    moved = {k.replace("layers.3", "layers.9"): t for k, t in situations.factors().items()}
    diff = compare(base, situations.write_lora(tmp_path / "lora", moved))
    assert diff.about["shares"] == {"base": 1.0, "tuned": pytest.approx(0.75)}
    assert diff.about["coverage"] == pytest.approx(0.75)


def test_a_number_of_everything_is_not_given_for_a_small_part_of_an_adapter(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    moved = {
        k.replace(".layers.", ".blocks.") if "layers.0" not in k else k: t
        for k, t in situations.factors().items()
    }
    diff = compare(base, situations.write_lora(tmp_path / "lora", moved))
    assert diff.about["coverage"] == pytest.approx(0.25)
    said = " ".join(summary(diff))
    assert "The relative change is" not in said
    assert document(diff).headlines["relative_norm"].startswith("not given: 9 of 12")
    found = {one.rule: one.message for one in ftdiff.audit(diff).findings}
    assert found["mostly-uncompared"].startswith(
        "Only 25.0% of the parameters were compared (100.0% of the base, 25.0% of the fine-tune)"
    )


def test_both_shares_are_printed_and_none_is_rounded_up() -> None:
    about = {"coverage": 0.99999, "shares": {"base": 0.99999, "tuned": 1.0}}
    assert coverage.words(about) == (
        "99.9% of the parameters compared (99.9% of the base, 100.0% of the fine-tune)"
    )
    whole = {"coverage": 1.0, "shares": {"base": 1.0, "tuned": 1.0}}
    assert coverage.words(whole) == "100.0% of the parameters compared"
    assert coverage.words({"coverage": 0.5}) == "50.0% of the parameters compared"  # of an old diff
    assert coverage.words({"coverage": 0.0, "shares": {"tuned": 0.0}}, "were compared") == (
        "0.0% of the parameters were read"
    )
    assert coverage.words({}) == ""
    assert coverage.too_little({"coverage": 1.0}, 1.0) == ""
    assert coverage.too_little({"coverage": 0.5, "shares": {"base": 1.0, "tuned": 0.5}}, 0.9) == (
        "50.0% of the parameters were compared, 90.0% are asked for (100.0% of the base, 50.0% of "
        "the fine-tune)"
    )


def test_a_fine_tune_that_names_no_files_counts_what_it_changes() -> None:
    opened = open_checkpoint({"a": np.ones((2, 3), "f4"), "b": np.ones(4, "f4")})
    base = Checkpoint({"a": opened.tensors["a"]}, "base", "memory")
    recipes = {name: Replaced(tensor) for name, tensor in opened.tensors.items()}
    plan = pair(base, Tuned(recipes, "made by hand", "full"))
    assert plan.sides.shares() == {"base": 1.0, "tuned": pytest.approx(0.6)}


def test_what_could_not_be_measured_counts_on_neither_side() -> None:
    opened = open_checkpoint({"a": np.ones((2, 3), "f4"), "b": np.ones(4, "f4")})
    plan = pair(opened, open_tuned(opened))
    assert plan.sides.shares() == {"base": 1.0, "tuned": 1.0}
    assert plan.sides.shares(["a"]) == {"base": pytest.approx(0.4), "tuned": pytest.approx(0.4)}


def test_a_module_of_an_adapters_own_was_read(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    own = {"base_model.model.gate.weight": torch.ones(3, situations.HIDDEN)}
    lora = situations.factors() | own
    saved = situations.write_lora(tmp_path / "lora", lora, modules_to_save=["gate"])
    diff = compare(base, saved)
    assert diff.about["coverage"] == 1.0 and not diff.about["unmatched"]
    stray = compare(base, situations.write_lora(tmp_path / "stray", lora)).about
    assert stray["coverage"] < 1 and [*stray["unmatched"]] == [*own]
