"""What PEFT makes of one module alone is what it makes of the whole model."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import ftdiff
from ftdiff.adapters import open_tuned
from ftdiff.adapters.peft.by_peft.merge import _merged, _tensor
from ftdiff.adapters.peft.by_peft.module_order import targeted
from ftdiff.deltas.recipes import Rebuilt
from ftdiff.errors import BadAdapter, MissingExtra
from ftdiff.formats import open_checkpoint
from ftdiff.tensors import ArrayTensor
from tests.oracle import models
from tests.oracle.agreement import assert_agrees
from tests.oracle.conftest import Bench
from tests.oracle.peft_cases import CASES, Case

Benches = dict[str, Bench]
HIRA = Case("HIRA", {"r": 4})


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_module_alone_changes_as_in_the_whole_model(
    case: Case, benches: Benches, tmp_path: Path
) -> None:
    bench = benches[case.on]
    adapter = models.save_adapter(bench.model, case.config(), tmp_path)
    tuned = assert_agrees(bench.folder, adapter, bench.changes(adapter))
    assert any(isinstance(recipe, Rebuilt) for recipe in tuned.recipes.values())
    assert not tuned.unmatched


def rewrite(adapter: Path, *, without: str = "", renamed: dict[str, str] | None = None) -> None:
    """Save an adapter's tensors again, with some missing or called otherwise."""
    file = adapter / "adapter_model.safetensors"
    tensors = {key: t for key, t in load_file(file).items() if not without or without not in key}
    for old, new in (renamed or {}).items():
        tensors = {key.replace(old, new): tensor for key, tensor in tensors.items()}
    save_file(tensors, file)


def reconfigure(adapter: Path, **settings: Any) -> None:
    """Change some of an adapter's settings."""
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def complaints(bench: Bench, adapter: Path) -> set[str]:
    return set(ftdiff.compare(bench.folder, adapter).about["unreadable"].values())


@pytest.fixture
def hira(benches: Benches, tmp_path: Path) -> Path:
    return models.save_adapter(benches["llama"].model, HIRA.config(), tmp_path)


def test_without_a_base_each_module_says_what_it_needs_one_for(hira: Path) -> None:
    diff = ftdiff.compare(None, hira)
    assert set(diff.frame["status"]) == {"unreadable"}
    assert len(diff.frame) == 6
    assert all("give the base" in why for why in diff.about["unreadable"].values())
    assert {"code": "merged-by-peft"} in diff.about["reasons"]


def test_a_missing_half_is_named(benches: Benches, hira: Path) -> None:
    rewrite(hira, without="layers.0.self_attn.q_proj.hira_B")
    found = complaints(benches["llama"], hira)
    assert found == {"model.layers.0.self_attn.q_proj: the adapter has no hira_B"}


def test_a_key_that_peft_does_not_place_is_named(benches: Benches, hira: Path) -> None:
    rewrite(hira, renamed={"layers.0.self_attn.q_proj.hira_B": "layers.0.self_attn.q_proj.hira_C"})
    (found,) = complaints(benches["llama"], hira)
    assert "model.layers.0.self_attn.q_proj: peft" in found and "no place for hira_C" in found


def test_factors_of_another_shape_are_a_sentence(benches: Benches, hira: Path) -> None:
    reconfigure(hira, r=3)
    found = complaints(benches["llama"], hira)
    assert len(found) == 6
    assert all("size mismatch" in why and "\n" not in why for why in found)


@pytest.mark.parametrize("settings", [{"r": "many"}, {"r": -1}, {"r": None}, {"r": {"a": 1}}])
def test_nonsense_settings_are_sentences(
    benches: Benches, hira: Path, settings: dict[str, Any]
) -> None:
    reconfigure(hira, **settings)
    assert len(complaints(benches["llama"], hira)) == 6


def test_a_setting_that_peft_does_not_know_is_refused(benches: Benches, hira: Path) -> None:
    reconfigure(hira, use_something_new=True)
    (found,) = {why.partition(": ")[2] for why in complaints(benches["llama"], hira)}
    assert "does not know use_something_new of HIRA" in found


def test_a_module_that_the_base_lacks_is_unmatched(benches: Benches, hira: Path) -> None:
    rewrite(hira, renamed={"layers.1.mlp.down_proj": "layers.1.mlp.sideways"})
    tuned = open_tuned(hira, benches["llama"].opened)
    name = "model.layers.1.mlp.sideways.weight"
    diff = ftdiff.compare(benches["llama"].folder, hira)
    assert diff.about["unmatched"] == {name: f"the base has no {name}"} and len(tuned.recipes) == 6
    assert diff.about["parts"]["unmatched"]["tensors"] == 2 and not tuned.unmatched


@pytest.mark.parametrize("key", ["randlora_A", "randlora_sideways"])
def test_what_modules_share_and_peft_has_no_place_for_is_named(
    key: str, benches: Benches, tmp_path: Path
) -> None:
    bench = benches["llama"]
    adapter = models.save_adapter(bench.model, Case("RANDLORA", {"r": 4}).config(), tmp_path)
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    shared = f"base_model.{key}"
    tensors[f"{shared}_x"] = tensors.pop(shared, torch.ones(3))
    save_file(tensors, file)
    found = complaints(bench, adapter)
    assert found and all(key in why for why in found)


def test_not_a_number_is_counted(benches: Benches, hira: Path) -> None:
    file = hira / "adapter_model.safetensors"
    tensors = load_file(file)
    name = "base_model.model.model.layers.0.self_attn.v_proj.hira_B"
    tensors[name][3, 1] = float("nan")
    save_file(tensors, file)
    frame = ftdiff.compare(benches["llama"].folder, hira).frame.set_index("tensor")
    assert frame.loc["model.layers.0.self_attn.v_proj.weight", "nonfinite_tuned"] == 24
    assert frame.loc["model.layers.1.self_attn.v_proj.weight", "nonfinite_tuned"] == 0


def test_an_adapter_that_does_nothing_is_identical(benches: Benches, tmp_path: Path) -> None:
    bench = benches["llama"]
    adapter = models.save_adapter(bench.model, HIRA.config(), tmp_path, spread=0.0)
    frame = ftdiff.compare(bench.folder, adapter).frame
    assert set(frame["status"]) == {"identical", "untouched"}


def test_names_with_an_adapter_in_them_are_read(benches: Benches, tmp_path: Path) -> None:
    bench = benches["llama"]
    adapter = models.save_adapter(bench.model, Case("PSOFT", {"r": 6}).config(), tmp_path)
    before = ftdiff.compare(bench.folder, adapter).frame["delta_sq"]
    rewrite(adapter, renamed={"psoft_R.": "psoft_R.default."})
    assert ftdiff.compare(bench.folder, adapter).frame["delta_sq"].equals(before)


def test_a_16_bit_base_is_merged_in_float32(benches: Benches, hira: Path, tmp_path: Path) -> None:
    model = models.llama().to(torch.bfloat16)
    base = models.save_model(model, tmp_path / "base")
    truth = Bench(model.float(), base, open_checkpoint(base)).changes(hira)
    tuned = open_tuned(hira, open_checkpoint(base))
    for name, recipe in tuned.recipes.items():
        found = recipe.delta(open_checkpoint(base).tensors[name]).dense()
        assert np.linalg.norm(found - truth[name]) <= 1e-5 * np.linalg.norm(truth[name])


def test_a_base_in_memory_is_as_good_as_one_in_files(benches: Benches, hira: Path) -> None:
    bench = benches["llama"]
    here = ftdiff.compare(bench.model, hira).frame.set_index("tensor")["delta_sq"]
    there = ftdiff.compare(bench.folder, hira).frame.set_index("tensor")["delta_sq"]
    assert here.sort_index().equals(there.sort_index())


def test_recipes_travel(benches: Benches, hira: Path) -> None:
    bench = benches["llama"]
    for name, recipe in open_tuned(hira, bench.opened).recipes.items():
        base = bench.opened.tensors[name]
        moved = pickle.loads(pickle.dumps(recipe))
        assert moved == recipe
        assert len(pickle.dumps(recipe)) < 4096
        assert moved.moments(base) == recipe.moments(base)


def test_a_module_is_merged_once_for_all_its_tensors(
    benches: Benches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benches["biased"]
    adapter = models.save_adapter(bench.model, Case("ROAD", {"group_size": 4}).config(), tmp_path)
    _merged.cache_clear()
    ftdiff.compare(bench.folder, adapter)
    assert _merged.cache_info().misses == 6


def test_where_places_alone_matter_the_others_have_no_size(
    benches: Benches, tmp_path: Path
) -> None:
    bench = benches["llama"]
    adapter = models.save_adapter(
        bench.model, Case("TINYLORA", {"r": 2, "u": 8}).config(), tmp_path
    )
    for recipe in open_tuned(adapter, bench.opened).recipes.values():
        assert [leaf.shape for leaf in recipe.maker.job.others] == [(1, 1)] * 5


@pytest.mark.parametrize("type", ["TINYLORA", "UNILORA"])
def test_where_order_matters_a_base_without_config_is_refused(
    benches: Benches, tmp_path: Path, type: str
) -> None:
    bench = benches["llama"]
    case = next(case for case in CASES if case.type == type)
    adapter = models.save_adapter(bench.model, case.config(), tmp_path / "adapter")
    weights = bench.folder / "model.safetensors"
    (tmp_path / "model.safetensors").symlink_to(weights)
    found = ftdiff.compare(tmp_path / "model.safetensors", adapter).about["unreadable"]
    assert len(found) == 6
    assert all("no config.json that gives their order" in why for why in found.values())


def test_another_models_config_gives_no_order(benches: Benches, tmp_path: Path) -> None:
    bench, other = benches["llama"], benches["gpt2"]
    case = next(case for case in CASES if case.type == "UNILORA")
    adapter = models.save_adapter(bench.model, case.config(), tmp_path / "adapter")
    (tmp_path / "model.safetensors").symlink_to(bench.folder / "model.safetensors")
    (tmp_path / "config.json").symlink_to(other.folder / "config.json")
    found = ftdiff.compare(tmp_path, adapter).about["unreadable"]
    assert len(found) == 6
    assert all("the order of the targets is not known" in why for why in found.values())


def test_a_config_of_fewer_layers_gives_no_order(benches: Benches, tmp_path: Path) -> None:
    bench = benches["llama"]
    case = next(case for case in CASES if case.type == "UNILORA")
    adapter = models.save_adapter(bench.model, case.config(), tmp_path / "adapter")
    (tmp_path / "model.safetensors").symlink_to(bench.folder / "model.safetensors")
    config = json.loads((bench.folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    found = ftdiff.compare(tmp_path, adapter).about["unreadable"]
    assert len(found) == 6
    assert all("the order of the targets is not known" in why for why in found.values())


def test_a_pattern_names_whole_paths_and_a_list_their_ends() -> None:
    paths = ["a.1.q_proj", "a.1.q_proj.inner", "a.1.my_q_proj"]
    assert targeted({"target_modules": r"a\.\d\.q_proj"}, paths) == paths[:1]
    assert targeted({"target_modules": ["q_proj", "inner"]}, paths) == paths[:2]
    with pytest.raises(BadAdapter, match=r"target_modules .* is no pattern"):
        targeted({"target_modules": "(q_proj"}, paths)


def test_a_config_of_a_million_layers_is_not_built(benches: Benches, tmp_path: Path) -> None:
    bench = benches["llama"]
    case = next(case for case in CASES if case.type == "UNILORA")
    adapter = models.save_adapter(bench.model, case.config(), tmp_path / "adapter")
    (tmp_path / "model.safetensors").symlink_to(bench.folder / "model.safetensors")
    config = json.loads((bench.folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**6}))
    found = ftdiff.compare(tmp_path, adapter).about["unreadable"]
    assert len(found) == 6
    assert all("num_hidden_layers = 1000000" in why for why in found.values())


def test_without_peft_one_line_says_what_to_install(
    benches: Benches, hira: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benches["llama"]
    tuned = open_tuned(hira, bench.opened)
    name, recipe = next(iter(tuned.recipes.items()))
    _merged.cache_clear()
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(
        MissingExtra, match=r"a HIRA adapter needs peft: pip install 'ftdiff\[peft\]'"
    ):
        recipe.moments(bench.opened.tensors[name])


def test_indices_stay_whole_numbers() -> None:
    beyond_float32 = np.array([2**24 + 1], np.int32)
    assert _tensor(ArrayTensor(beyond_float32), torch).tolist() == [2**24 + 1]


def test_no_setting_names_code_to_be_imported(
    benches: Benches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benches["llama"]
    config = Case("LORA", {"r": 4, "init_lora_weights": "pissa"}).config()
    adapter = models.save_adapter(bench.model, config, tmp_path / "adapter")
    (tmp_path / "trap_in_a_config.py").write_text("raise SystemExit('run')")
    monkeypatch.syspath_prepend(tmp_path)
    mapping = {"parent_library": "trap_in_a_config", "base_model_class": "Trap"}
    reconfigure(
        adapter,
        megatron_config={"a": 1},
        megatron_core="trap_in_a_config",
        auto_mapping=mapping,
        base_model_name_or_path="trap_in_a_config",
    )
    assert not complaints(bench, adapter)
    assert "trap_in_a_config" not in sys.modules
