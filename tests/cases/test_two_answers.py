"""Two answers in one place: both are named, one is read, and it is said which."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import ftdiff
from ftdiff.analyses.inspection import inspect
from ftdiff.comparison.batch import compare_each
from ftdiff.comparison.reasons import reasons
from ftdiff.errors import BadAdapter, BadFile
from ftdiff.reports.summary import summary
from tests.cases.situations import (
    ALPHA,
    CONFIG,
    RANK,
    adapter_config,
    factors,
    merged,
    relative_norm,
    state,
    write_base,
    write_lora,
)
from tests.conftest import write_model

ONCE = relative_norm(state(), merged())


def codes(diff: ftdiff.Diff) -> set[str]:
    return {one["code"] for one in diff.about["reasons"]}


def rules(base: Path, tuned: Path) -> dict[str, Any]:
    return {one.rule: one for one in ftdiff.audit(ftdiff.compare(base, tuned)).findings}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "base")


def write_both(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    """Write a model and the adapter into one folder."""
    write_model(folder, weights, config=CONFIG)
    return write_lora(folder)


def test_an_adapter_beside_merged_weights_is_named_and_would_be_added_twice(
    base: Path, tmp_path: Path
) -> None:
    folder = write_both(tmp_path / "both", merged())
    diff = ftdiff.compare(base, folder)
    assert diff.about["kind"] == "full"
    (one,) = reasons(diff.about, "adapter-beside")
    assert (one["read"], one["unread"]) == ("model.safetensors", "adapter_model.safetensors")
    assert one["once"] == pytest.approx(ONCE, rel=1e-5)
    assert one["twice"] == pytest.approx(2 * ONCE, rel=1e-5)
    (note,) = (one for one in diff.about["notes"] if "adapter_model.safetensors" in one)
    assert f"the model holds it already: over the adapter's matrices {2 * ONCE:.4g}" in note
    result = ftdiff.audit(diff)
    (alarm,) = (found for found in result.findings if found.severity == "alarm")
    assert alarm.rule == "applied-twice" and not result.ok
    assert f"{2 * ONCE:.4g} instead of {ONCE:.4g}" in alarm.message
    (batch,) = compare_each(base, [folder])
    assert isinstance(batch, ftdiff.Diff) and batch.about["reasons"] == diff.about["reasons"]


def test_each_command_takes_what_it_asks_for_of_the_two(base: Path, tmp_path: Path) -> None:
    folder = write_both(tmp_path / "both", merged())
    adapter = write_lora(tmp_path / "adapter")
    found = ftdiff.verify(base, adapter, folder)
    assert found.verdict == "merged" and "adapter-beside" in {
        getattr(note, "code", "") for note in found.about["notes"]
    }
    assert ftdiff.verify(base, folder, folder).verdict == "merged"
    assert inspect(folder).facts["kind"] == "full"
    as_base = ftdiff.compare(folder, base)
    assert as_base.about["counts"]["measured"] == len(state())
    assert "adapter-beside" in codes(as_base)


def test_an_adapter_beside_its_own_base_is_what_was_trained(base: Path, tmp_path: Path) -> None:
    folder = write_lora(write_base(tmp_path / "both"))
    diff = ftdiff.compare(base, folder)
    assert diff.about["kind"] == "lora"
    assert diff.overall["relative_norm"] == pytest.approx(ONCE, rel=1e-5)
    (one,) = reasons(diff.about, "model-beside")
    assert (one["read"], one["unread"]) == ("adapter_model.safetensors", "model.safetensors")
    assert "applied-twice" not in rules(base, folder) and "two-answers" in rules(base, folder)


def test_an_adapter_beside_another_models_weights_is_not_said_to_be_twice(
    base: Path, tmp_path: Path
) -> None:
    folder = write_both(tmp_path / "both", merged(factors(seed=9)))
    diff = ftdiff.compare(base, folder)
    assert any("the model does not hold it" in note for note in diff.about["notes"])
    found = {one.rule: one for one in ftdiff.audit(diff).findings}
    assert "applied-twice" not in found
    assert found["two-answers"].evidence["unread"] == ["adapter_model.safetensors"]


def test_an_adapter_beside_shards_is_found_too(base: Path, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "both", merged(), shards=2)
    write_lora(folder)
    assert "applied-twice" in rules(base, folder)


def test_a_configuration_alone_is_no_adapter(base: Path, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "m")
    (folder / "adapter_config.json").write_text(json.dumps(adapter_config()))
    diff = ftdiff.compare(base, folder)
    assert diff.about["kind"] == "full" and "adapter-config-alone" in codes(diff)
    assert "two-answers" in rules(base, folder)


def unmerged(name: str = "default", prefix: str = "base_model.model.") -> dict[str, torch.Tensor]:
    """Return a PEFT model's whole state: base layers, and factors of an adapter's name."""
    lora = {
        key.removeprefix("base_model.model.").replace(".weight", f".{name}.weight"): value
        for key, value in factors().items()
    }
    paths = {key.split(".lora_")[0] for key in lora}
    held = {}
    for key, value in state().items():
        path = key.removesuffix(".weight")
        held[f"{path}.base_layer.weight" if path in paths else key] = value
    return {f"{prefix}{key}": value.contiguous() for key, value in (held | lora).items()}


@pytest.mark.parametrize("prefix", ["base_model.model.", ""])
@pytest.mark.parametrize("name", ["default", "sft"])
def test_factors_inside_a_checkpoint_are_a_change_of_unknown_scale(
    base: Path, tmp_path: Path, prefix: str, name: str
) -> None:
    folder = write_model(tmp_path / "u", unmerged(name, prefix))
    diff = ftdiff.compare(base, folder)
    assert diff.about["counts"] | {"measured": 0} == dict.fromkeys(diff.about["counts"], 0)
    changed = diff.frame[diff.frame["status"] == "changed"]
    assert len(changed) == 12
    assert diff.about["unmatched"] == {} and diff.about["counts"]["added"] == 0
    (one,) = reasons(diff.about, "unmerged")
    assert (one["modules"], one["scale_known"]) == (12, False)
    assert {*diff.about["scalings"].values()} == {"1, as it is stored: no file says α"}
    size = (float(changed["delta_sq"].sum()) / float(changed["base_sq"].sum())) ** 0.5
    assert size == pytest.approx(ONCE * RANK / ALPHA, rel=1e-5)
    assert "unmerged" in rules(base, folder)
    assert "regime" not in {one.rule for one in ftdiff.findings(diff)}
    assert any("no file says their α" in line for line in summary(diff))


def test_a_configuration_beside_the_checkpoint_tells_their_scale(
    base: Path, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "u", unmerged())
    (folder / "adapter_config.json").write_text(json.dumps(adapter_config()))
    diff = ftdiff.compare(base, folder)
    changed = diff.frame[diff.frame["status"] == "changed"]
    size = (float(changed["delta_sq"].sum()) / float(changed["base_sq"].sum())) ** 0.5
    assert size == pytest.approx(ONCE, rel=1e-5)
    (one,) = reasons(diff.about, "unmerged")
    assert one["scale_known"] and "adapter-config-alone" not in codes(diff)


def test_the_file_itself_is_the_same_checkpoint_as_its_folder(base: Path, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "u", unmerged())
    (file,) = folder.glob("*.safetensors")
    assert "unmerged" in codes(ftdiff.compare(base, file))
    lone = tmp_path / "lone"
    lone.mkdir()
    save_file(unmerged(), lone / "pytorch_model.safetensors")
    assert "unmerged" in codes(ftdiff.compare(base, lone))


@pytest.mark.parametrize("words", [("lora_a", "lora_b"), ("lora_down", "lora_up")])
def test_factors_beside_plain_weights_are_inside_too(
    base: Path, tmp_path: Path, words: tuple[str, str]
) -> None:
    held = {}
    for key, value in unmerged(prefix="").items():
        key = key.replace(".base_layer", "").replace(".default", "")
        held[key.replace("lora_A", words[0]).replace("lora_B", words[1])] = value
    diff = ftdiff.compare(base, write_model(tmp_path / "u", held))
    (one,) = reasons(diff.about, "unmerged")
    assert one["modules"] == 12 and (diff.frame["status"] == "changed").sum() == 12


def test_an_adapter_of_another_type_inside_is_named(base: Path, tmp_path: Path) -> None:
    held = {k: v for k, v in unmerged().items() if ".lora_" not in k}
    held |= {k.replace("base_layer.weight", "ia3_l.default"): torch.ones(4, 1)
             for k in held if "base_layer" in k}  # fmt: skip
    diff = ftdiff.compare(base, write_model(tmp_path / "u", held))
    (one,) = reasons(diff.about, "unmerged")
    assert (one["modules"], one["what"]) == (12, "adapter")
    assert not ftdiff.audit(diff).ok


def test_as_a_base_its_own_weights_are_taken_and_it_is_said(base: Path, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "u", unmerged())
    diff = ftdiff.compare(folder, base)
    assert "unmerged-ignored" in codes(diff)
    assert not (diff.frame["status"] == "changed").any()


def test_a_base_layer_that_was_trained_is_in_the_change(base: Path, tmp_path: Path) -> None:
    held = unmerged()
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    held[f"{name}.base_layer.weight"] = held[f"{name}.base_layer.weight"] + 0.01
    diff = ftdiff.compare(base, write_model(tmp_path / "u", held))
    row = diff.frame.set_index("tensor").loc["model.layers.0.self_attn.q_proj.weight"]
    A, B = (held[f"{name}.lora_{side}.default.weight"].double() for side in "AB")
    assert row["delta_sq"] == pytest.approx(float((B @ A + 0.01).square().sum()), rel=1e-4)


def test_of_two_adapters_in_one_checkpoint_the_default_is_read_and_both_are_named(
    base: Path, tmp_path: Path
) -> None:
    held = unmerged()
    held |= {
        key.replace(".default.", ".reference."): value * 3
        for key, value in held.items()
        if ".lora_" in key
    }
    diff = ftdiff.compare(base, write_model(tmp_path / "u", held))
    (one,) = reasons(diff.about, "several-adapters")
    assert one["adapters"] == ["default", "reference"]
    assert len(diff.about["unmatched"]) == 24
    assert all("'reference'" in why for why in diff.about["unmatched"].values())
    assert "two-answers" in {found.rule for found in ftdiff.audit(diff).findings}


def test_two_adapters_in_an_adapters_file_are_both_named(tmp_path: Path) -> None:
    lora = {k.replace(".weight", ".default.weight"): v for k, v in factors().items()}
    lora |= {k.replace(".default.", ".reference."): v.clone() for k, v in lora.items()}
    with pytest.raises(BadAdapter, match="default and reference"):
        ftdiff.open_tuned(write_lora(tmp_path / "a", lora))


def test_the_reference_adapter_below_the_folder_is_named(base: Path, tmp_path: Path) -> None:
    folder = write_lora(tmp_path / "dpo")
    write_lora(folder / "reference", factors(seed=9))
    write_lora(folder / "checkpoint-10")
    diff = ftdiff.compare(base, folder)
    (one,) = reasons(diff.about, "adapters-below")
    assert one["adapters"] == ["reference"]
    assert diff.overall["relative_norm"] == pytest.approx(ONCE, rel=1e-5)
    assert "two-answers" in rules(base, folder)


def test_adapters_in_folders_alone_are_to_be_named(tmp_path: Path) -> None:
    write_lora(tmp_path / "dpo" / "default")
    write_lora(tmp_path / "dpo" / "reference")
    with pytest.raises(BadFile, match="they are in default, reference: name one"):
        ftdiff.open_tuned(tmp_path / "dpo")


def _consolidated(folder: Path) -> list[str]:
    save_file(merged(), folder / "consolidated.safetensors")
    return ["consolidated.safetensors"]


def _half(folder: Path) -> list[str]:
    save_file({k: v.half() for k, v in merged().items()}, folder / "model.fp16.safetensors")
    return ["model.fp16.safetensors"]


def _index(folder: Path) -> list[str]:
    other = write_model(folder.parent / "other", merged(), shards=2)
    for file in other.glob("model*"):
        (folder / file.name).write_bytes(file.read_bytes())
    names = sorted(file.name for file in other.glob("model*"))
    return ["model.safetensors.index.json", *(n for n in names if not n.endswith("json"))]


@pytest.mark.parametrize("make", [_consolidated, _half, _index])
def test_what_lies_beside_the_weights_that_are_read_is_named(
    base: Path, tmp_path: Path, make: Callable[[Path], list[str]]
) -> None:
    folder = write_base(tmp_path / "m")
    wanted = make(folder)
    found = rules(base, folder)["two-answers"]
    assert found.evidence["unread"] == wanted and found.evidence["read"] == "model.safetensors"
    notes = inspect(folder).notes
    assert all(any(name in note for note in notes) for name in wanted[:1])


def test_weights_beside_an_adapters_are_named(base: Path, tmp_path: Path) -> None:
    folder = write_lora(tmp_path / "a")
    save_file({"embed": torch.ones(2, 2)}, folder / "new_embeddings.safetensors")
    diff = ftdiff.compare(base, folder)
    (one,) = reasons(diff.about, "beside-unread")
    assert one["unread"] == ["new_embeddings.safetensors"]
    assert "two-answers" in {found.rule for found in ftdiff.audit(diff).findings}


@pytest.mark.parametrize("word", ["ema", "model_ema"])
def test_running_averages_are_named_as_a_second_set(base: Path, tmp_path: Path, word: str) -> None:
    held = merged() | {f"{word}.{k}": v.clone() for k, v in state().items()}
    diff = ftdiff.compare(base, write_model(tmp_path / "m", held))
    (one,) = reasons(diff.about, "ema-copies")
    assert (one["prefix"], one["tensors"], one["others"]) == (word, len(state()), len(state()))
    assert diff.overall["relative_norm"] > 0
    assert "two-answers" in {found.rule for found in ftdiff.audit(diff).findings}


def test_shards_that_no_index_names_are_found_by_no_loader(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    base = write_base(tmp_path / "base")
    shards = write_model(tmp_path / "shards", merged(), shards=2, config=CONFIG)
    assert "index" not in {one.rule for one in ftdiff.audit(ftdiff.compare(base, shards)).findings}
    index = shards / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    told["weight_map"].pop("model.norm.weight")
    index.write_text(json.dumps(told))
    (found,) = (
        one for one in ftdiff.audit(ftdiff.compare(base, shards)).findings if one.rule == "index"
    )
    assert found.message.startswith("1 tensor of the shards is not in the index")
    index.unlink()
    diff = ftdiff.compare(base, shards)
    assert diff.about["coverage"] == 1.0 and "no-index" in codes(diff)
    assert "index" in {one.rule for one in ftdiff.audit(diff).findings}
    with pytest.raises(OSError, match="no file named"):
        AutoModelForCausalLM.from_pretrained(shards)
