"""The inputs on which tools of this kind go wrong, each with the right numbers and words."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import ftdiff
from ftdiff.errors import BadFile, Mismatch
from ftdiff.reports.document import document
from tests.conftest import llama, nudge, relative_norm, write_model


def _statuses(diff: ftdiff.Diff) -> dict[str, int]:
    return {str(k): int(v) for k, v in diff.frame["status"].value_counts().items()}


def _row(diff: ftdiff.Diff, tensor: str) -> dict[str, object]:
    return dict(diff.frame.set_index("tensor").loc[tensor])


def _assert_norms(
    diff: ftdiff.Diff, base: dict[str, torch.Tensor], tuned: dict[str, torch.Tensor]
) -> None:
    measured = diff.frame[diff.frame["status"].isin(["changed", "identical"])]
    for row in measured.itertuples():
        assert row.relative_norm == pytest.approx(
            relative_norm(base[row.tensor], tuned[row.tensor]), rel=1e-6, abs=1e-12
        )


def test_a_missing_tensor_is_removed_and_the_rest_compared(tmp_path: Path) -> None:
    base = llama()
    tuned = nudge(base)
    gone = "model.layers.1.mlp.up_proj.weight"
    del tuned[gone]
    diff = ftdiff.compare(write_model(tmp_path / "b", base), write_model(tmp_path / "t", tuned))
    assert _statuses(diff) == {"changed": len(base) - 1, "removed": 1}
    assert _row(diff, gone)["status"] == "removed"
    assert gone in document(diff).lists["only in base"]
    share = base[gone].numel() / sum(t.numel() for t in base.values())
    assert diff.about["coverage"] == pytest.approx(1 - share)
    _assert_norms(diff, base, tuned)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace("model.", "model.language_model.", 1),
        lambda name: name.replace("model.", "language_model.model.", 1),
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: name.removeprefix("model."),
    ],
)
def test_a_wrapper_prefix_is_stripped_and_said(tmp_path: Path, rename: object) -> None:
    assert callable(rename)
    base = llama()
    moved = nudge(base)
    tuned = {rename(name): tensor for name, tensor in moved.items()}
    diff = ftdiff.compare(write_model(tmp_path / "b", base), write_model(tmp_path / "t", tuned))
    assert _statuses(diff) == {"changed": len(base)}
    assert diff.about["coverage"] == 1.0
    assert diff.about["renamed"] == {rename(name): name for name in base if rename(name) != name}
    assert any("differ in spelling" in line for line in document(diff).cautions)
    _assert_norms(diff, base, moved)


def test_a_grown_vocabulary_is_compared_on_its_common_rows(tmp_path: Path) -> None:
    base = llama()
    tuned = nudge(base)
    old = len(base["lm_head.weight"])
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        tuned[name] = torch.cat([tuned[name], torch.full((8, 16), 3.0, dtype=torch.bfloat16)])
    diff = ftdiff.compare(write_model(tmp_path / "b", base), write_model(tmp_path / "t", tuned))
    assert _statuses(diff) == {"changed": len(base) - 2, "reshaped": 2}
    row = _row(diff, "lm_head.weight")
    assert row["shape"] == (old + 8, 16)
    assert row["numel"] == old * 16
    assert row["note"] == f"another shape than the base's: {old} common rows were compared"
    expected = relative_norm(base["lm_head.weight"], tuned["lm_head.weight"][:old])
    assert row["relative_norm"] == pytest.approx(expected, rel=1e-6)
    assert any("8 rows were added" in line for line in document(diff).cautions)
    sizes = sum(t.numel() for t in tuned.values())
    assert diff.about["coverage"] == pytest.approx(1 - 2 * 8 * 16 / sizes)


def test_one_nan_costs_one_tensor_and_is_said(tmp_path: Path) -> None:
    base = llama()
    tuned = nudge(base)
    name = "model.layers.0.mlp.up_proj.weight"
    tuned[name][3, 5] = math.nan
    diff = ftdiff.compare(write_model(tmp_path / "b", base), write_model(tmp_path / "t", tuned))
    assert _statuses(diff) == {"changed": len(base)}
    row = _row(diff, name)
    assert (row["nonfinite_base"], row["nonfinite_tuned"]) == (0, 1)
    assert pd.isna(row["relative_norm"]) and pd.isna(row["cosine"]) and pd.isna(row["base_sq"])
    assert row["changed_fraction"] > 0  # entries are still counted
    rest = {n: W for n, W in base.items() if n != name}
    whole = ftdiff.compare(rest, {n: tuned[n] for n in rest}).overall
    assert diff.overall["relative_norm"] == whole["relative_norm"]
    assert any("1 tensor holds NaN or Inf" in line for line in document(diff).cautions)
    assert row["note"] == "NaN or Inf: 1 in tuned; it has no sums, and no group counts it"


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_another_dtype_is_compared_in_the_wider_one(tmp_path: Path, dtype: torch.dtype) -> None:
    base = llama()
    tuned = {name: tensor.to(dtype) for name, tensor in nudge(base).items()}
    diff = ftdiff.compare(write_model(tmp_path / "b", base), write_model(tmp_path / "t", tuned))
    assert set(diff.frame["base_dtype"]) == {"BF16"}
    assert len(set(diff.frame["tuned_dtype"])) == 1
    _assert_norms(diff, base, tuned)


def test_a_copy_in_other_shards_is_identical(tmp_path: Path) -> None:
    base = llama()
    diff = ftdiff.compare(
        write_model(tmp_path / "b", base), write_model(tmp_path / "t", base, shards=4)
    )
    assert _statuses(diff) == {"identical": len(base)}
    assert set(diff.frame["relative_norm"]) == {0.0}
    assert set(diff.frame["cosine"]) == {1.0}
    assert diff.overall["relative_norm"] == 0.0


def test_a_linked_copy_is_measured_as_a_real_copy_is(tmp_path: Path) -> None:
    base, copy = write_model(tmp_path / "b", llama()), write_model(tmp_path / "c", llama())
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "model.safetensors").symlink_to(base / "model.safetensors")
    linked, real = (ftdiff.compare(base, other).frame for other in (tmp_path / "t", copy))
    assert set(linked["status"]) == {"identical"}
    assert set(linked["relative_norm"]) == {0.0}
    pd.testing.assert_frame_equal(linked, real)


def test_a_stale_checkpoint_in_a_sub_folder_is_not_read(tmp_path: Path) -> None:
    base = llama()
    tuned = nudge(base)
    folder = write_model(tmp_path / "t", tuned)
    write_model(folder / "checkpoint-10", base)
    diff = ftdiff.compare(write_model(tmp_path / "b", base), folder)
    _assert_norms(diff, base, tuned)


def test_a_model_against_itself_moves_nothing(tmp_path: Path) -> None:
    folder = write_model(tmp_path, llama())
    diff = ftdiff.compare(folder, folder)
    assert _statuses(diff) == {"identical": len(llama())}


def test_another_architecture_has_nothing_in_common(tmp_path: Path) -> None:
    base = write_model(tmp_path / "b", llama())
    other = write_model(tmp_path / "t", {"h.0.attn.c_attn.weight": torch.ones(4, 12)})
    with pytest.raises(Mismatch, match="is this the right base"):
        ftdiff.compare(base, other)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    base = write_model(tmp_path / "b", llama())
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises((BadFile, Mismatch), match="empty"):
        ftdiff.compare(base, tmp_path / "empty.safetensors")


def test_zero_size_tensors_are_identical_to_themselves(tmp_path: Path) -> None:
    state = {**llama(), "model.layers.0.none.weight": torch.zeros(0, 16)}
    tuned = nudge(state)
    diff = ftdiff.compare(write_model(tmp_path / "b", state), write_model(tmp_path / "t", tuned))
    assert _row(diff, "model.layers.0.none.weight")["status"] == "identical"


def test_a_change_from_zero_is_missing_not_infinite(tmp_path: Path) -> None:
    base = llama()
    name = "model.layers.0.mlp.up_proj.weight"
    base[name] = torch.zeros_like(base[name])
    tuned = nudge(base)
    diff = ftdiff.compare(write_model(tmp_path / "b", base), write_model(tmp_path / "t", tuned))
    row = _row(diff, name)
    assert row["status"] == "changed"
    assert row["relative_norm"] is pd.NA
    assert row["note"] == "the base is all zero: there is no relative change"
    assert row["rms_change"] > 0


def _with_config(tmp_path: Path, model: torch.nn.Module, name: str) -> Path:
    model.save_pretrained(tmp_path / name)  # type: ignore[operator]
    return tmp_path / name


def _tiny(family: str) -> torch.nn.Module:
    import transformers as hf

    torch.manual_seed(0)
    made = {
        "gpt2": lambda: hf.GPT2LMHeadModel(
            hf.GPT2Config(n_layer=3, n_embd=16, n_head=2, vocab_size=32, n_positions=16)
        ),
        "bert": lambda: hf.BertModel(
            hf.BertConfig(
                num_hidden_layers=3,
                hidden_size=16,
                num_attention_heads=2,
                intermediate_size=32,
                vocab_size=32,
            )
        ),
        "mixtral": lambda: hf.MixtralForCausalLM(
            hf.MixtralConfig(
                num_hidden_layers=3,
                hidden_size=16,
                num_attention_heads=2,
                num_key_value_heads=2,
                intermediate_size=24,
                vocab_size=32,
                num_local_experts=3,
            )
        ),
    }
    return made[family]()


@pytest.mark.parametrize(
    ("family", "columns"),
    [
        ("gpt2", ["attn.qkv", "attn.o", "mlp.up", "mlp.down"]),
        ("bert", ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down"]),
        ("mixtral", ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down", "mlp.gate"]),
    ],
)
def test_other_architectures_fill_every_cell(
    tmp_path: Path, family: str, columns: list[str]
) -> None:
    model = _tiny(family)
    base = _with_config(tmp_path, model, "base")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    diff = ftdiff.compare(base, _with_config(tmp_path, model, "tuned"))
    assert set(diff.frame["status"]) == {"changed"}
    table = diff.table()
    assert list(table.index) == [0, 1, 2]
    assert list(table.columns)[: len(columns)] == columns
    assert table[columns].notna().all(axis=None)


@pytest.mark.parametrize("rslora", [False, True])
def test_a_lora_folder_gives_the_norms_of_its_merge(tmp_path: Path, rslora: bool) -> None:
    import peft

    model = _tiny("mixtral")
    base = _with_config(tmp_path, model, "base")
    before = {name: t.clone() for name, t in model.state_dict().items()}
    config = peft.LoraConfig(
        r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"], use_rslora=rslora
    )
    adapted = peft.get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(tmp_path / "adapter")
    after = adapted.merge_and_unload().state_dict()
    diff = ftdiff.compare(base, tmp_path / "adapter")
    assert diff.about["kind"] == ("rslora" if rslora else "lora")
    changed = diff.frame[diff.frame["status"] == "changed"]
    assert len(changed) == 6
    assert _statuses(diff)["untouched"] == len(diff.frame) - 6
    for row in changed.itertuples():
        expected = relative_norm(before[row.tensor], after[row.tensor])
        assert row.relative_norm == pytest.approx(expected, rel=1e-5)
        assert ("√r" in diff.about["scalings"][row.tensor]) is rslora


def test_an_adapter_for_another_base_is_refused(fixtures: Path, tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match="is this the right base"):
        ftdiff.compare(write_model(tmp_path, llama()), fixtures / "lora")


def test_a_dead_module_and_a_stray_key_are_columns_of_the_frame(
    fixtures: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    state = load_file(fixtures / "lora" / "adapter_model.safetensors")
    at = "base_model.model.model.layers.2.mlp.up_proj.lora_B.weight"
    state[at] = torch.zeros_like(state[at])
    state["base_model.model.model.layers.2.mlp.up_proj.lora_C.weight"] = torch.ones(2)
    save_file(state, tmp_path / "adapter_model.safetensors")
    config = (fixtures / "lora" / "adapter_config.json").read_text()
    (tmp_path / "adapter_config.json").write_text(config)
    diff = ftdiff.compare(fixtures / "base", tmp_path)
    row = _row(diff, "model.layers.2.mlp.up_proj.weight")
    assert (row["status"], row["delta_sq"]) == ("identical", 0.0)
    assert "dead" in str(row["note"])
    stray = diff.frame[diff.frame["tensor"].str.contains("lora_C")].iloc[0]
    assert stray["note"]
    assert diff.about["unmatched"] == {stray["tensor"]: stray["note"]}
    said = " ".join(document(diff).cautions)
    assert "is dead" in said
    assert "1 key of the adapter led to no change" in said


def test_a_delta_release_is_told_by_a_switch(tmp_path: Path) -> None:
    base = llama(dtype=torch.float32)
    tuned = nudge(base)
    stored = {name: tuned[name] - base[name] for name in base}
    b, d = write_model(tmp_path / "b", base), write_model(tmp_path / "d", stored)
    diff = ftdiff.compare(b, d, tuned_is_delta=True)
    assert _statuses(diff) == {"changed": len(base)}
    for row in diff.frame.itertuples():
        expected = relative_norm(base[row.tensor], base[row.tensor] + stored[row.tensor])
        assert row.relative_norm == pytest.approx(expected, rel=1e-5)
