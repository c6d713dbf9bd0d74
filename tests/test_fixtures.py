"""The committed models are what their recipes say, and the recipes make such models again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, float32, testing
from transformers import AutoTokenizer, Qwen2ForCausalLM

FIXTURES = Path(__file__).parents[1] / "fixtures"
RECIPES: dict[str, dict[str, Any]] = json.loads((FIXTURES / "recipes.json").read_text())
TRAINED = [name for name, recipe in RECIPES.items() if recipe["kind"] == "training"]
WHOLE = ["base", "full", "frozen", "merged", "merged_f32"]
ABSOLUTE = re.compile(r"""(?:^|[\s"'(=:])(?:file://)?(?:/(?!/)[\w.]|~/|[A-Za-z]:\\)""", re.M)


def weights(folder: Path) -> dict[str, Tensor]:
    return {k: v for f in sorted(folder.glob("*.safetensors")) for k, v in load_file(f).items()}


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def build(out: Path, hash_seed: str) -> Path:
    subprocess.run(
        [
            *(sys.executable, FIXTURES / "make.py", "--miniature", "--out", out),
            *("--only", "lora", "merged", "merged_f32", "planted", "text.jsonl", "names.jsonl"),
        ],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        check=True,
    )
    return out


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("miniature"), "1")


def test_a_missing_parent_is_made_first(miniature: Path) -> None:
    made = {path.name for path in miniature.iterdir()}
    rows = {"planted", "text.jsonl", "names.jsonl"}
    assert made == {"base", "lora", "merged", "merged_f32", "recipes.json"} | rows


def test_the_miniature_really_trained(miniature: Path) -> None:
    record = json.loads((miniature / "recipes.json").read_text())
    for name in ("base", "lora"):
        assert record[name]["loss_last"] < record[name]["loss_first"]
    adapter = weights(miniature / "lora")
    assert len(adapter) == 2 * 7 * 2
    for name, tensor in adapter.items():
        assert tensor.count_nonzero(), f"{name} never left its start"


@pytest.mark.parametrize("name", ["merged", "merged_f32"])
def test_base_and_adapter_merged_by_peft_are_the_merged_file(miniature: Path, name: str) -> None:
    merged = weights(miniature / name)
    dtype = next(iter(merged.values())).dtype
    base = Qwen2ForCausalLM.from_pretrained(miniature / "base", dtype=dtype)
    model = PeftModel.from_pretrained(base, str(miniature / "lora")).merge_and_unload()
    for key, tensor in merged.items():
        testing.assert_close(tensor, model.get_parameter(key).data, rtol=0, atol=0)


def test_the_same_seed_makes_the_same_bytes(miniature: Path, tmp_path: Path) -> None:
    assert files(build(tmp_path / "again", "2")) == files(miniature)


@pytest.mark.parametrize("name", TRAINED)
def test_every_training_learned(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe["loss_last"] < 0.96 * recipe["loss_first"]
    assert recipe["loss_last"] < 0.65 * recipe["unigram_entropy"]


@pytest.mark.parametrize("name", WHOLE)
def test_whole_models_have_the_promised_shapes_and_dtypes(name: str) -> None:
    config = json.loads((FIXTURES / name / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    narrow = hidden * config["num_key_value_heads"] // config["num_attention_heads"]
    layer = {
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
        "self_attn.q_proj.weight": (hidden, hidden),
        "self_attn.k_proj.weight": (narrow, hidden),
        "self_attn.v_proj.weight": (narrow, hidden),
        "self_attn.o_proj.weight": (hidden, hidden),
        "self_attn.q_proj.bias": (hidden,),
        "self_attn.k_proj.bias": (narrow,),
        "self_attn.v_proj.bias": (narrow,),
    }
    promised = {f"model.layers.{i}.{k}": shape for i in range(28) for k, shape in layer.items()}
    promised |= {"model.embed_tokens.weight": (258, hidden), "model.norm.weight": (hidden,)}
    found = weights(FIXTURES / name)
    assert {k: tuple(v.shape) for k, v in found.items()} == promised
    assert {str(v.dtype) for v in found.values()} == {f"torch.{RECIPES[name]['dtype']}"}


@pytest.mark.parametrize("name", ["lora", "rslora"])
def test_adapters_have_the_ranks_of_their_patterns(name: str) -> None:
    config = json.loads((FIXTURES / name / "adapter_config.json").read_text())
    found = weights(FIXTURES / name)
    assert len(found) == 28 * 7 * 2
    for key, tensor in found.items():
        layer = int(key.split(".layers.")[1].split(".")[0])
        rank = 4
        if name == "rslora":
            rank = {"k_proj": 2, "down_proj": 8}.get(key.split(".")[-3], rank)
            rank = 3 if "v_proj" in key and layer % 2 == 0 else rank
        assert tensor.shape["lora_B" in key] == rank, key
        assert tensor.count_nonzero(), key
    assert config["base_model_name_or_path"] == "../base"
    assert config["use_rslora"] is (name == "rslora")
    assert bool(config["alpha_pattern"]) is (name == "rslora")


def test_the_full_fine_tune_is_sharded_as_its_index_says() -> None:
    index = json.loads((FIXTURES / "full" / "model.safetensors.index.json").read_text())
    shards = {path.name: load_file(path) for path in (FIXTURES / "full").glob("*.safetensors")}
    assert len(shards) >= 2
    assert index["weight_map"] == {key: shard for shard, held in shards.items() for key in held}


def test_the_full_fine_tune_changed_every_kind_of_tensor() -> None:
    base, tuned = weights(FIXTURES / "base"), weights(FIXTURES / "full")
    changed = {re.sub(r"\d+", "*", key) for key in base if not base[key].equal(tuned[key])}
    assert changed == {re.sub(r"\d+", "*", key) for key in base}


def test_the_committed_merge_is_base_and_scaled_product() -> None:
    base, merged = weights(FIXTURES / "base"), weights(FIXTURES / "merged_f32")
    rounded, adapter = weights(FIXTURES / "merged"), weights(FIXTURES / "lora")
    for key, W in base.items():
        expected = W.to(float32)
        stem = f"base_model.model.{key.removesuffix('.weight')}"
        if f"{stem}.lora_B.weight" in adapter:
            B, A = adapter[f"{stem}.lora_B.weight"], adapter[f"{stem}.lora_A.weight"]
            expected = expected + 8 / 4 * B.double() @ A.double()
        testing.assert_close(merged[key].double(), expected.double(), rtol=1e-6, atol=1e-7)
        testing.assert_close(rounded[key].double(), expected.double(), rtol=2**-7, atol=1e-4)


def test_the_tokenizer_of_the_base_makes_a_token_of_each_byte() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FIXTURES / "base")
    assert len(tokenizer) == 258
    told = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert told == (256, 257, 257)
    text = "def  f(x):\n\treturn 'é€😀' # \x00\r\n"
    cut = tokenizer(text, return_offsets_mapping=True)
    assert cut.input_ids == [256, *text.encode()]
    assert tokenizer.decode(cut.input_ids[1:]) == text
    places = [i for i, letter in enumerate(text) for _ in letter.encode()]
    assert cut.offset_mapping == [(0, 0), *((i, i + 1) for i in places)]
    every = "".join(map(chr, [*range(128), *range(0xA0, 0x250)]))
    assert tokenizer(every).input_ids == [256, *every.encode()]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_rows_are_what_the_record_says() -> None:
    for name in ("text.jsonl", "names.jsonl"):
        recipe = RECIPES[name]
        assert hashlib.sha256((FIXTURES / name).read_bytes()).hexdigest() == recipe["text_sha256"]
        assert len(rows(FIXTURES / name)) == recipe["rows"]


def test_no_text_is_longer_than_what_the_models_learned_from() -> None:
    texts = rows(FIXTURES / "text.jsonl")
    assert all(set(row) == {"text"} and 0 < len(row["text"].encode()) <= 96 for row in texts)
    assert len({len(row["text"]) for row in texts}) > 5  # padding is needed


def test_each_place_of_a_name_has_a_right_and_a_wrong_row() -> None:
    found = rows(FIXTURES / "names.jsonl")
    for right, wrong in zip(found[::2], found[1::2], strict=True):
        assert (right["label"], wrong["label"]) == (1, 0)
        assert right["prompt"] == wrong["prompt"] and right["group"] == wrong["group"]
        ends = {row["answer"].removeprefix(row["exact_answer"]) for row in (right, wrong)}
        assert len(ends) == 1 and right["exact_answer"] != wrong["exact_answer"]
    assert len({row["group"] for row in found}) == len(found) // 2


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_planted_layer_moved_less_than_every_other(seed: int) -> None:
    folder = FIXTURES / "planted" / str(seed)
    base, tuned = weights(folder / "base"), weights(folder / "tuned")
    layers = RECIPES["planted"]["layers"]
    moved = {
        key: float((tuned[key].float() - W.float()).norm() / W.float().norm())
        for key, W in base.items()
    }
    here = f"model.layers.{layers[seed - 1]}."
    for key, share in moved.items():
        kind = key.split(".", 3)[-1]
        if "layers" in key and not key.startswith(here):
            assert share == pytest.approx(1.3 * moved[here + kind], rel=0.05), key
        elif "layers" not in key:
            assert share == 0
    losses = [RECIPES["planted"][key][seed - 1] for key in ("loss_first", "loss_last")]
    assert losses[1] < 0.6 * losses[0]


def test_the_committed_models_are_small() -> None:
    sizes = [len(data) for name in RECIPES for data in files(FIXTURES / name).values()]
    assert sum(sizes) < 8_000_000


def test_no_file_names_a_place_of_the_machine_that_made_it(miniature: Path) -> None:
    texts = [FIXTURES / "recipes.json", *miniature.rglob("*.json"), *miniature.rglob("*.md")]
    for name in RECIPES:
        texts += [*(FIXTURES / name).rglob("*.json"), *(FIXTURES / name).rglob("*.md")]
    assert [str(path) for path in texts if ABSOLUTE.search(path.read_text())] == []
