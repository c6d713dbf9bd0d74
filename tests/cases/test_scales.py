"""Which factor an adapter has: one rule for each dialect, and what else the file says is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import ftdiff
from ftdiff.analyses.inspection import inspect
from ftdiff.comparison.reasons import reasons
from ftdiff.errors import BadAdapter
from ftdiff.tensors import Array
from tests.cases.situations import ALPHA, RANK, factors, write_base, write_lora

MODULES = [f"blocks.{i}.attn.q_proj" for i in range(2)]


def draw(*shape: int, seed: int = 3) -> Array:
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) / 10).astype("f4")


def peft(rank: int = 16, ranks: tuple[int, ...] = ()) -> dict[str, Array]:
    """Return factors under PEFT's words."""
    held = {}
    for i, path in enumerate(MODULES):
        r = ranks[i] if ranks else rank
        held[f"{path}.lora_A.weight"] = draw(r, 64, seed=i)
        held[f"{path}.lora_B.weight"] = draw(64, r, seed=i)
    return held


def flat(*, alpha: float | None = None) -> dict[str, Array]:
    """Return the same factors under the names of sd-scripts."""
    held = {}
    for key, value in peft().items():
        path, half = key.split(".lora_")
        word = {"A": "lora_down", "B": "lora_up"}[half[0]]
        held[f"lora_unet_{path.replace('.', '_')}.{word}.weight"] = value
    if alpha is not None:
        held |= {f"lora_unet_{p.replace('.', '_')}.alpha": np.array(alpha, "f4") for p in MODULES}
    return held


def prefixed(held: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {f"{prefix}{key}": value for key, value in held.items()}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_file(
        {f"{path}.weight": draw(64, 64, seed=9) for path in MODULES}, tmp_path / "base.safetensors"
    )
    return tmp_path / "base.safetensors"


def compared(base: Path, held: Mapping[str, Array], **metadata: str) -> ftdiff.Diff:
    file = base.with_name("x.safetensors")
    save_file(dict(held), file, metadata=metadata)
    return ftdiff.compare(base, file)


def size(diff: ftdiff.Diff) -> float:
    return float(diff.frame["delta_sq"].sum()) ** 0.5


def product(held: Mapping[str, Array]) -> float:
    """Return ‖BA‖ of all modules."""
    return float(
        np.sqrt(
            sum(
                np.square(held[k.replace("lora_A", "lora_B")].astype(float) @ A).sum()
                for k, A in held.items()
                if "lora_A" in k
            )
        )
    )


def codes(diff: ftdiff.Diff) -> set[str]:
    return {one["code"] for one in diff.about["reasons"]}


def disputed(diff: ftdiff.Diff) -> set[str]:
    found = ftdiff.audit(diff).findings
    return {one.evidence["reason"] for one in found if one.rule == "scale-disputed"}


# α in the header alone


@pytest.mark.parametrize(
    ("prefix", "key"),
    [
        ("", "alpha"),
        ("diffusion_model.", "alpha"),
        ("transformer.", "transformer.lora_alpha"),
        ("", "transformer.lora_alpha"),
        ("unet.", "lora_alpha"),
        ("", "network_alpha"),
    ],
)
def test_an_alpha_in_the_header_is_one_scale_whatever_the_prefix(
    base: Path, prefix: str, key: str
) -> None:
    diff = compared(base, prefixed(peft(), prefix), **{key: "1"})
    assert size(diff) == pytest.approx(product(peft()) / 16, rel=1e-6)
    assert {*diff.about["scalings"].values()} == {"α/r = 1/16, the file's header"}
    (one,) = reasons(diff.about, "alpha-in-header")
    assert (one["alpha"], one["ranks"], one["key"]) == (1.0, [16], key)
    assert any("ComfyUI" in note and "by 1" in note for note in diff.about["notes"])
    assert disputed(diff) == {"alpha-in-header"}
    said = [*diff.about["notes"], *diff.about["scalings"].values()]
    assert not any("adapter_config.json" in sentence for sentence in said)
    assert any("header" in note for note in inspect(base.with_name("x.safetensors")).notes)


def test_what_similarity_and_trajectory_say_of_it_is_the_same(base: Path) -> None:
    files = []
    for name, prefix in (("a", ""), ("b", "diffusion_model.")):
        files.append(base.with_name(f"{name}.safetensors"))
        save_file(prefixed(peft(), prefix), files[-1], metadata={"alpha": "1"})
    for found in (ftdiff.similarity(files, base), ftdiff.trajectory(base, files, order="given")):
        (one,) = (said for said in ftdiff.findings(found) if said.rule == "noted")
        assert one.evidence["code"] == "alpha-in-header" and len(one.evidence["names"]) == 2
        again = type(found).load(found.save(base.with_name("saved.json")))
        assert [one.message for one in ftdiff.findings(again)] == [
            one.message for one in ftdiff.findings(found)
        ]


def test_a_component_s_own_alpha_is_its_modules(base: Path) -> None:
    held = prefixed(peft(), "unet.") | prefixed(peft(), "text_encoder.")
    told = {"unet.lora_alpha": "4", "text_encoder.lora_alpha": "8"}
    scalings = compared(base, held, **told).about["scalings"]
    assert {*scalings.values()} <= {
        "α/r = 4/16, the file's header",
        "α/r = 8/16, the file's header",
    }


def test_other_alphas_and_ranks_of_a_header_are_named(base: Path) -> None:
    diff = compared(base, peft(), alpha="8", lora_alpha="4", rank="32")
    assert {"alphas-differ", "rank-differs"} <= codes(diff)
    assert {*diff.about["scalings"].values()} == {"α/r = 4/16, the file's header"}
    (one,) = reasons(diff.about, "alphas-differ")
    assert (one["used"], one["others"]) == ("lora_alpha", ["alpha"])


@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
def test_one_alpha_for_two_ranks_is_said(base: Path, prefix: str) -> None:
    diff = compared(base, prefixed(peft(ranks=(4, 16)), prefix), alpha="8")
    (one,) = reasons(diff.about, "ranks-differ")
    assert one["ranks"] == [4, 16] and "ranks-differ" in disputed(diff)
    assert {*diff.about["scalings"].values()} == {
        "α/r = 8/4, the file's header",
        "α/r = 8/16, the file's header",
    }


@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
def test_a_configuration_beside_comes_before_the_header(base: Path, prefix: str) -> None:
    told = {"peft_type": "LORA", "r": 16, "lora_alpha": 32}
    base.with_name("adapter_config.json").write_text(json.dumps(told))
    diff = compared(base, prefixed(peft(), prefix), alpha="1")
    assert {*diff.about["scalings"].values()} == {"α/r = 32/16, adapter_config.json"}
    (one,) = reasons(diff.about, "alpha-unused")
    assert one["alpha"] == 1.0 and disputed(diff) == {"alpha-unused"}


def test_factors_of_which_nothing_tells_a_scale_are_refused(base: Path) -> None:
    with pytest.raises(BadAdapter, match="nothing says how they are scaled"):
        compared(base, peft())


def test_an_alpha_that_is_no_number_is_none(base: Path) -> None:
    for text in ("none", "nan", "inf", "[1]"):
        with pytest.raises(BadAdapter, match="nothing says how they are scaled"):
            compared(base, peft(), alpha=text)


# α where loaders do not look


def test_a_configuration_in_the_header_is_held_against_what_stands_beside_it(base: Path) -> None:
    dotted = prefixed(peft(), "unet.")
    diff = compared(base, dotted, alpha="4", **_told(r=16, lora_alpha=8))
    assert {*diff.about["scalings"].values()} == {"α/r = 8/16, the file's header"}
    (one,) = reasons(diff.about, "alpha-unused")
    assert one["alpha"] == 4.0
    (one,) = reasons(compared(base, flat(), **_told(r=16, lora_alpha=8)).about, "alpha-unused")
    assert one["alpha"] == 8.0


@pytest.mark.parametrize("key", ["ss_network_alpha", "alpha"])
def test_the_names_of_sd_scripts_have_no_alpha_in_a_header(base: Path, key: str) -> None:
    diff = compared(base, flat(), **{key: "8"})
    assert size(diff) == pytest.approx(product(peft()), rel=1e-6)
    (one,) = reasons(diff.about, "alpha-unused")
    assert (one["key"], one["alpha"]) == (key, 8.0) and disputed(diff) == {"alpha-unused"}


def test_dotted_names_have_no_alpha_of_sd_scripts(base: Path) -> None:
    diff = compared(base, prefixed(peft(), "diffusion_model."), ss_network_alpha="8")
    assert size(diff) == pytest.approx(product(peft()), rel=1e-6)
    assert disputed(diff) == {"alpha-unused"}


def test_the_header_of_a_peft_adapter_is_held_against_its_configuration(tmp_path: Path) -> None:
    base, lora = write_base(tmp_path / "base"), write_lora(tmp_path / "lora")
    file = lora / "adapter_model.safetensors"
    save_file(load_file(file), file, metadata={"lora_alpha": "32"})
    diff = ftdiff.compare(base, lora)
    assert {*diff.about["scalings"].values()} == {f"α/r = {ALPHA}/{RANK}, adapter_config.json"}
    assert disputed(diff) == {"alpha-unused"}


@pytest.mark.parametrize(("told", "wrong"), [("8", False), ("4", True)])
def test_a_header_that_contradicts_the_modules_is_said_and_not_used(
    base: Path, told: str, wrong: bool
) -> None:
    diff = compared(base, flat(alpha=8), ss_network_alpha=told, ss_network_dim="16")
    assert size(diff) == pytest.approx(product(peft()) / 2, rel=1e-6)
    assert ("alpha-unused" in codes(diff)) == wrong
    assert "rank-differs" not in codes(diff)
    assert "rank-differs" in codes(
        compared(base, flat(alpha=8), ss_network_alpha="8", ss_network_dim="4")
    )


def test_an_alpha_of_its_own_wins_over_the_header_s(base: Path) -> None:
    held = prefixed(peft(), "diffusion_model.")
    held |= {f"diffusion_model.{path}.alpha": np.array(8, "f4") for path in MODULES}
    diff = compared(base, held, alpha="1")
    assert size(diff) == pytest.approx(product(peft()) / 2, rel=1e-6)
    assert disputed(diff) == {"alpha-unused"}


# α that loaders read differently


@pytest.mark.parametrize("dotted", [False, True])
def test_an_alpha_of_zero_is_the_rank_to_some_and_no_change_to_others(
    base: Path, dotted: bool
) -> None:
    held = flat(alpha=0)
    if dotted:
        held = prefixed(peft(), "diffusion_model.")
        held |= {f"diffusion_model.{path}.alpha": np.array(0, "f4") for path in MODULES}
    diff = compared(base, held)
    assert size(diff) == pytest.approx(product(peft()), rel=1e-6)
    (one,) = reasons(diff.about, "alpha-zero")
    assert one["modules"] == 2 and disputed(diff) == {"alpha-zero"}


def test_a_whole_lokr_ignores_its_alpha_and_that_is_said(base: Path) -> None:
    held: dict[str, Array] = {}
    for i, path in enumerate(MODULES):
        name = f"lycoris_{path.replace('.', '_')}"
        held[f"{name}.lokr_w1"], held[f"{name}.lokr_w2"] = draw(4, 4, seed=i), draw(16, 16, seed=i)
        held[f"{name}.alpha"] = np.array(4, "f4")
    diff = compared(base, held)
    wanted = sum(
        np.square(held[k].astype(float)).sum() * np.square(held[k[:-1] + "2"].astype(float)).sum()
        for k in held
        if k.endswith("lokr_w1")
    )
    assert size(diff) == pytest.approx(wanted**0.5, rel=1e-6)
    (one,) = reasons(diff.about, "alpha-ignored")
    assert one["modules"] == 2
    assert "conventions" in {found.rule for found in ftdiff.audit(diff).findings}


# where a number stands


def _told(**config: Any) -> dict[str, str]:
    named = {f"unet.{key}": value for key, value in config.items()}
    return {"lora_adapter_metadata": json.dumps(named)}


def test_a_rank_of_the_metadata_is_held_against_the_factors(base: Path) -> None:
    diff = compared(base, prefixed(peft(), "unet."), **_told(r=8, lora_alpha=8))
    assert {*diff.about["scalings"].values()} == {
        "α/r = 8/16, the file's header, with r of the factors (it says r = 8)"
    }
    assert "rank-differs" in codes(diff)
    assert "rank-differs" not in codes(
        compared(base, prefixed(peft(), "unet."), **_told(r=16, lora_alpha=8))
    )


def test_a_wrong_number_of_the_metadata_is_the_header_s(base: Path) -> None:
    diff = compared(base, prefixed(peft(), "unet."), **_told(r=16, lora_alpha="much"))
    assert all("the file's header: lora_alpha" in why for why in diff.about["unreadable"].values())


def test_a_rank_that_the_factors_have_not_is_not_what_they_are_divided_by(tmp_path: Path) -> None:
    base, lora = write_base(tmp_path / "base"), write_lora(tmp_path / "lora", factors(), r=2)
    diff = ftdiff.compare(base, lora)
    (origin,) = {*diff.about["scalings"].values()}
    assert origin == (
        f"α/r = {ALPHA}/{RANK}, adapter_config.json, with r of the factors (it says r = 2)"
    )
    assert "rank-differs" in codes(diff)


READERS: Mapping[str, Callable[[Path], Path]] = {
    "bare": lambda base: base.with_name("x.safetensors"),
    "torchtune": lambda base: base.with_name("t.safetensors"),
}


@pytest.mark.parametrize("reader", READERS)
def test_no_sentence_names_a_file_that_is_not_there(base: Path, reader: str) -> None:
    file = READERS[reader](base)
    held = peft()
    if reader == "torchtune":
        held = {
            k.replace("lora_A", "lora_a").replace("lora_B", "lora_b"): v for k, v in held.items()
        }
    save_file(held, file, metadata={"lora_alpha": "8"})
    diff = ftdiff.compare(base, file)
    assert size(diff) == pytest.approx(product(peft()) / 2, rel=1e-6)
    assert "adapter_config.json" not in json.dumps(diff.about, ensure_ascii=False, default=str)


def test_factors_in_integers_are_no_numbers(tmp_path: Path) -> None:
    whole = {key: (100 * t).to(torch.int8) for key, t in factors().items()}
    diff = ftdiff.compare(write_base(tmp_path / "base"), write_lora(tmp_path / "lora", whole))
    assert set(diff.frame["status"]) == {"unreadable", "untouched"}
    assert diff.about["coverage"] == 0.0 and diff.overall.get("relative_norm") is None
    assert all(
        why.endswith("a factor stored as I8: no file says what scales it")
        for why in diff.about["unreadable"].values()
    )
