"""PEFT folders: what their headers and configuration come to, and what is said of odd ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import ftdiff
from ftdiff.adapters.peft.closed_forms import lora
from ftdiff.adapters.peft.closed_forms.dora import Dora
from ftdiff.adapters.peft.closed_forms.lora_resumed import Copied
from ftdiff.adapters.peft.closed_forms.token_rows import TokenRows
from ftdiff.adapters.peft.targets import absent
from ftdiff.comparison.plan import pair
from ftdiff.deltas.recipes import Product, Tuned
from ftdiff.errors import BadAdapter, BadFile, FtdiffError
from ftdiff.formats.note import Note
from ftdiff.tensors import ArrayTensor, FileTensor

Q = "model.layers.0.self_attn.q_proj"
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["q_proj"]}
Tensors = dict[str, np.ndarray]


def _codes(tuned: Tuned) -> list[str]:
    return [note.code for note in tuned.notes if isinstance(note, Note)]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def factors(path: str = Q, *, r: int = 2, out: int = 5, into: int = 4) -> Tensors:
    A, B = random(r, into), random(out, r, seed=1)
    return {f"{path}.lora_A.weight": A, f"{path}.lora_B.weight": B}


def write(folder: Path, tensors: Tensors, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    whole = {f"base_model.model.{name}": np.array(t, order="C") for name, t in tensors.items()}
    save_file(whole, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    return folder


def write_base(folder: Path, tensors: Tensors, **config: Any) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "scaling", "origin"),
    [
        ({}, 3.0, "α/r = 6/2, adapter_config.json"),
        ({"use_rslora": True}, 6 / math.sqrt(2), "α/√r = 6/√2, use_rslora in adapter_config.json"),
        (
            {"alpha_pattern": {"q_proj": 8}},
            4.0,
            "α/r = 8/2, alpha_pattern 'q_proj' in adapter_config.json",
        ),
        (
            {"use_rslora": True, "alpha_pattern": {r"layers\.\d+\..*": 8}},
            8 / math.sqrt(2),
            r"α/√r = 8/√2, use_rslora and alpha_pattern 'layers\\.\\d+\\..*' in "
            "adapter_config.json",
        ),
        ({"alpha_pattern": {"proj": 8, "_proj": 9}}, 3.0, "α/r = 6/2, adapter_config.json"),
        (
            {"r": 64, "rank_pattern": {"q_proj": 32}},
            3.0,
            "α/r = 6/2, adapter_config.json, with r of the factors (it says r = 32)",
        ),
    ],
)
def test_scaling_is_what_the_configuration_says_and_tells_where(
    config: dict[str, Any], scaling: float, origin: str, tmp_path: Path
) -> None:
    tensors = factors()
    tuned = ftdiff.open_tuned(write(tmp_path, tensors, **config))
    A, B = tensors.values()
    assert tuned.scalings == {f"{Q}.weight": origin}
    dW = tuned.recipes[f"{Q}.weight"].delta(None).dense()
    np.testing.assert_allclose(dW, scaling * (B.astype(float) @ A.astype(float)), rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    r=st.integers(1, 9),
    alpha=st.floats(0.01, 100) | st.integers(1, 64),
    rslora=st.booleans(),
)
def test_norm_scales_as_the_configuration_does(
    r: int, alpha: float, rslora: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("adapter")
    tensors = factors(r=r)
    adapter = write(folder, tensors, r=r, lora_alpha=alpha, use_rslora=rslora)
    (delta_sq,) = ftdiff.compare(None, adapter).frame["delta_sq"]
    A, B = (t.astype(float) for t in tensors.values())
    wanted = alpha / (math.sqrt(r) if rslora else r) * np.linalg.norm(B @ A)
    assert math.sqrt(delta_sq) == pytest.approx(wanted, rel=1e-9)


def test_opening_reads_no_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_base(tmp_path / "base", {f"{Q}.weight": random(5, 4)})
    magnitude = {f"{Q}.lora_magnitude_vector": random(5)}
    adapter = write(tmp_path / "adapter", factors() | magnitude, use_dora=True)

    def refuse(*_: Any) -> None:
        raise AssertionError("bytes were read")

    monkeypatch.setattr(FileTensor, "read", refuse)
    monkeypatch.setattr(FileTensor, "window", refuse)
    checkpoint = ftdiff.open_checkpoint(base)
    tuned = ftdiff.open_tuned(adapter, checkpoint)
    assert len(pair(checkpoint, tuned).changes) == 1


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({f"{Q}.lora_A.weight": random(16, 4)}, "adapter has lora_A (16×4) but no lora_B"),
        ({f"{Q}.lora_B.weight": random(5, 16)}, "adapter has lora_B (5×16) but no lora_A"),
        (
            {f"{Q}.lora_A.weight": random(2, 4), f"{Q}.lora_B.weight": random(5, 3)},
            "lora_A (2×4) and lora_B (5×3) do not multiply",
        ),
        (
            {f"{Q}.lora_A.weight": random(0), f"{Q}.lora_B.weight": random(0)},
            "lora_A (0) and lora_B (0) are empty: shards were not gathered before the adapter "
            "was saved",
        ),
        (
            {f"{Q}.lora_A.weight": random(4, 4), f"{Q}.lora_B.weight": random(6, 2, 1)},
            "lora_A (4×4) and lora_B (6×2×1) are of a layer that old versions of peft merged in "
            "groups (enable_lora)",
        ),
        (
            {f"{Q}.lora_A.weight": np.float32(3).reshape(()), f"{Q}.lora_B.weight": random(2)},
            "lora_A (scalar) and lora_B (2) do not multiply",
        ),
    ],
)
def test_factors_that_make_no_change_say_why(tensors: Tensors, reason: str, tmp_path: Path) -> None:
    adapter = write(tmp_path / "adapter", tensors)
    assert list(ftdiff.compare(None, adapter).about["unreadable"].values()) == [f"{Q}: {reason}"]
    base = write_base(tmp_path / "base", {f"{Q}.weight": random(5, 4)})
    diff = ftdiff.compare(base, adapter)
    assert diff.frame["status"].tolist() == ["unreadable"]
    assert diff.frame["shape"].tolist() == [(5, 4)]


@pytest.mark.parametrize("with_base", [True, False])
def test_a_dead_module_is_identical(with_base: bool, tmp_path: Path) -> None:
    tensors = factors()
    tensors[f"{Q}.lora_B.weight"][:] = 0
    adapter = write(tmp_path / "adapter", tensors)
    base = write_base(tmp_path / "base", {f"{Q}.weight": random(5, 4)}) if with_base else None
    frame = ftdiff.compare(base, adapter).frame
    assert frame["status"].tolist() == ["identical"]
    assert frame["delta_sq"].tolist() == [0.0]


@pytest.mark.parametrize("with_base", [True, False])
def test_values_that_are_no_numbers_are_counted(with_base: bool, tmp_path: Path) -> None:
    tensors = factors()
    tensors[f"{Q}.lora_B.weight"][3, 1] = np.nan
    adapter = write(tmp_path / "adapter", tensors)
    base = write_base(tmp_path / "base", {f"{Q}.weight": random(5, 4)}) if with_base else None
    frame = ftdiff.compare(base, adapter).frame
    assert frame["status"].tolist() == ["changed"]
    assert frame["nonfinite_tuned"].tolist() == [4]


def test_keys_that_are_no_part_of_lora_are_unmatched_with_the_reason(tmp_path: Path) -> None:
    extra = {
        f"{Q}.lora_magic": random(2),
        f"{Q}.lora_A.one.two.weight": random(2),
        f"{Q}.lora_magnitude_vector": random(5),
    }
    tuned = ftdiff.open_tuned(write(tmp_path, factors() | extra))
    assert set(tuned.recipes) == {f"{Q}.weight"}
    key = f"base_model.model.{Q}"
    assert set(tuned.unmatched) == {f"base_model.model.{name}" for name in extra}
    assert tuned.unmatched[f"{key}.lora_magic"] == "no part of LoRA is called lora_magic"
    assert "use_dora is not set" in tuned.unmatched[f"{key}.lora_magnitude_vector"]


def test_what_acts_in_training_alone_is_noted_and_ignored(tmp_path: Path) -> None:
    extra = {
        f"{Q}.lora_velora_embed": random(2),
        f"{Q}.lora_monteclora_sampler.std_prior": random(2),
        f"{Q}.lora_monteclora_sampler.expert_weights": random(2),
    }
    tuned = ftdiff.open_tuned(write(tmp_path, factors() | extra))
    assert set(tuned.recipes) == {f"{Q}.weight"} and not tuned.unmatched
    assert [note.split("'")[0] for note in tuned.notes] == ["MonteCLoRA", "VeLoRA"]
    assert _codes(tuned) == ["training-only", "training-only"]


def test_two_adapters_in_one_file_are_refused(tmp_path: Path) -> None:
    both = {
        key.replace(".weight", f".{name}.weight"): tensor
        for name in ("one", "other")
        for key, tensor in factors().items()
    }
    with pytest.raises(BadAdapter, match="the file holds several adapters"):
        ftdiff.open_tuned(write(tmp_path, both))


def test_ranks_and_targets_that_the_file_contradicts_are_noted_once(tmp_path: Path) -> None:
    tensors = factors(r=3) | factors(Q.replace("0", "1"), r=3)
    config = {
        "target_modules": ["q_proj", "v_proj"],
        "target_parameters": ["mlp.experts.down_proj"],
    }
    tuned = ftdiff.open_tuned(write(tmp_path, tensors, **config))
    unloaded, *others = tuned.notes
    assert "PEFT would load 0 of 2 modules: it refuses shapes" in unloaded
    assert tuple(others) == (
        "adapter_config.json targets mlp.experts.down_proj, v_proj, but the file has no tensor "
        "for them",
        "factors of rank 3 where adapter_config.json says 2: the factors' own is used",
    )
    assert ftdiff.compare(None, tuned).about["reasons"][1:] == [
        {"code": "target-missing", "targets": ["mlp.experts.down_proj", "v_proj"]},
        {"code": "rank-differs", "rank": 3, "configured": 2},
    ]


def test_what_a_configuration_lacks_has_a_code(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", factors(r=8))  # PEFT takes 8 where no r is named
    (folder / "adapter_config.json").write_text(
        json.dumps({k: CONFIG[k] for k in CONFIG if k != "r"})
    )
    unnamed = ftdiff.open_tuned(folder)
    assert _codes(unnamed) == ["rank-unnamed"]
    assert "with r of the factors (it names none)" in str([*unnamed.scalings.values()])
    resumed = factors() | {f"{Q}.base_layer.weight": random(5, 4)}
    assert "copy-not-compared" in _codes(ftdiff.open_tuned(write(tmp_path / "b", resumed)))


@pytest.mark.parametrize("value", ["2", None, True, [2], 2.5, math.nan, -2])
def test_an_r_that_is_no_rank_is_told_as_it_stands(tmp_path: Path, value: Any) -> None:
    tuned = ftdiff.open_tuned(write(tmp_path, factors(), r=value))
    stands, notes = json.dumps(value), " ".join(map(str, tuned.notes))
    assert f"factors of rank 2 where adapter_config.json says r = {stands}" in notes
    assert "rank-unfit" in _codes(tuned) and "rank-unnamed" not in _codes(tuned)
    assert [*tuned.scalings.values()] == [
        f"α/r = 6/2, adapter_config.json, with r of the factors (it says r = {stands})"
    ]


def test_targets_are_found_by_the_end_of_a_path() -> None:
    paths = ["a.b.q_proj", "a.b.mlp.experts"]
    config = {"target_modules": ["q_proj", "b.q_proj", "a.b.q_proj"]}
    assert absent(config | {"target_parameters": ["experts.x", "mlp.experts.y"]}, paths) == ()
    assert absent({"target_modules": "all-linear"}, paths) == ()
    assert "proj" in absent({"target_modules": ["proj"]}, paths)[0]


@pytest.mark.parametrize(
    ("name", "path", "suffix"),
    [
        ("a.q.lora_A.weight", "a.q", "lora_A.weight"),
        ("a.q.lora_A.default.weight", "a.q", "lora_A.weight"),
        ("a.q.lora_B.x.bias", "a.q", "lora_B.bias"),
        ("a.e.lora_embedding_A", "a.e", "lora_embedding_A"),
        ("a.e.lora_embedding_A.default", "a.e", "lora_embedding_A"),
        ("a.q.lora_magnitude_vector.default.weight", "a.q", "lora_magnitude_vector"),
        ("a.x.base_layer.base_layer.lora_A.weight", "a.x", "base_layer.base_layer.lora_A.weight"),
        ("a.out_proj.lora_A.weight", "a.out_proj", "lora_A.weight"),
        ("a.m.base_layer.out_proj.lora_A.weight", "a.m", "base_layer.out_proj.lora_A.weight"),
        ("a.m.base_layer.out_proj.base_layer.bias", "a.m", "base_layer.out_proj.bias"),
        ("a.q.base_layer.bias", "a.q", "base_layer.bias"),
        (
            "a.e.token_adapter.trainable_tokens_delta",
            "a.e",
            "token_adapter.trainable_tokens_delta",
        ),
    ],
)
def test_keys_are_split_into_module_and_part(name: str, path: str, suffix: str) -> None:
    assert lora.split(name) == (path, suffix)


@pytest.mark.parametrize("name", ["a.q.weight", "lm_head.weight", "a.norm.bias"])
def test_saved_copies_are_not_split(name: str) -> None:
    assert lora.split(name) is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"init_lora_weights": "pissa"}, "'pissa'.*replaced by a residual"),
        ({"init_lora_weights": "corda"}, "'corda'"),
        ({"init_lora_weights": ["olora"]}, "residual"),
        ({"kasa_config": {"x": 1}}, "KaSA truncates the base"),
        ({"arrow_config": {"top_k": 1}}, "no single ΔW exists"),
    ],
)
def test_what_has_no_closed_form_is_refused_by_name(config: dict[str, Any], words: str) -> None:
    with pytest.raises(BadAdapter, match=words):
        lora.check(CONFIG | config)


@pytest.mark.parametrize("init", [True, False, None, "gaussian", "eva", "orthogonal", "mica"])
def test_converted_and_plain_starts_are_plain(init: Any) -> None:
    assert lora.no_closed_form(CONFIG | {"init_lora_weights": init}) is None


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({}, "lora"),
        ({"use_rslora": True}, "rslora"),
        ({"use_dora": True, "use_rslora": True}, "dora"),
        ({"use_qalora": True}, "qalora"),
        ({"use_bdlora": {"nblocks": 2}}, "bdlora"),
        ({"alora_invocation_tokens": [1]}, "alora"),
    ],
)
def test_kind_is_the_variant(config: dict[str, Any], kind: str) -> None:
    assert lora.kind(CONFIG | config) == kind


@pytest.mark.parametrize(
    "config",
    [
        {"lora_alpha": None},
        {"lora_alpha": "6"},
        {"lora_alpha": True},
        {"alpha_pattern": {"(": 1}},
        {"alpha_pattern": [1]},
        {"alpha_pattern": {"q_proj": None}},
        {"peft_type": None},
        {"peft_type": "NEWEST"},
        {"use_bdlora": {"nblocks": 0, "target_modules_bd_a": ["q"]}},
        {"use_bdlora": True},
        {"use_qalora": True, "qalora_group_size": "16"},
    ],
)
def test_contradictory_configurations_are_one_line(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(FtdiffError) as caught:
        ftdiff.open_tuned(write(tmp_path, factors(), **config))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("told", "shape"),
    [
        (None, (2, 4)),
        ([0, 1, 2], (2, 4)),
        ([0, 9], (2, 4)),
        ([0, -1], (2, 4)),
        (["0", 1], (2, 4)),
        ({"other": [0, 1]}, (2, 4)),
        ([0, 1], (2, 3)),
    ],
)
def test_rows_without_their_indices_are_unreadable(
    told: Any, shape: tuple[int, int], tmp_path: Path
) -> None:
    key = "model.embed_tokens.token_adapter.trainable_tokens_delta"
    adapter = write(tmp_path / "adapter", {key: random(*shape)}, trainable_token_indices=told)
    base = write_base(tmp_path / "base", {"model.embed_tokens.weight": random(9, 4)})
    diff = ftdiff.compare(base, adapter)
    assert diff.frame["status"].tolist() == ["unreadable"]


def test_a_legacy_pickle_is_refused_and_a_missing_file_named(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(BadFile, match=r"no adapter_model\.safetensors"):
        ftdiff.open_tuned(tmp_path)
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(BadFile, match=r"adapter_model\.bin: a pickle as torch wrote it before"):
        ftdiff.open_tuned(tmp_path)


def rules() -> dict[str, Any]:
    """A rule of every kind, on an embedding of nine rows."""
    product = Product(ArrayTensor(random(2, 9)), ArrayTensor(random(4, 2, seed=1)), 1.5, True)
    copy, wide = ArrayTensor(random(9, 4, seed=2)), ArrayTensor(random(4, seed=3))
    down = Product(ArrayTensor(random(2, 4)), ArrayTensor(random(9, 2, seed=1)), 1.5)
    return {
        "rows that were trained": TokenRows(ArrayTensor(random(3, 4, seed=4)), (7, 0, 4)),
        "a saved copy": Copied(copy, product),
        "DoRA by column": Dora(product, wide, columns=True),
        "DoRA by column, from a copy": Dora(product, wide, columns=True, copy=copy),
        "DoRA by row": Dora(down, ArrayTensor(random(9, seed=5))),
        "DoRA by row, from a copy": Dora(down, ArrayTensor(random(9, seed=5)), copy=copy),
    }


@pytest.mark.parametrize("name", rules())
def test_a_rule_gives_the_same_bits_wherever_rows_are_cut(name: str) -> None:
    base = ArrayTensor(random(9, 4, seed=6))
    rule = rules()[name].make(base)
    whole = rule.rows(base.array, 0)
    for start in range(9):
        for stop in range(start + 1, 10):
            assert np.array_equal(rule.rows(base.array[start:stop], start), whole[start:stop])
