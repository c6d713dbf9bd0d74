"""What we say that PEFT would fill from an adapter's file is what a real load fills."""

from __future__ import annotations

import copy
import json
import math
import random
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper, TrainableTokensWrapper
from safetensors.torch import load_file, save_file
from torch import nn

from ftdiff.adapters.loading import peft as rules
from ftdiff.adapters.loading.fields import LACKING
from ftdiff.adapters.loading.parts import OTHERS, PREFIXES
from tests.oracle import models
from tests.oracle.peft_cases import CASES, MODELS

Tensors = dict[str, torch.Tensor]
Config = dict[str, Any]
Edit = Callable[[random.Random, Tensors, Config], None]

PREFIX = "base_model.model."
EDITS = 200


@cache
def model() -> nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=12,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        attention_bias=True,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config).eval()


LINEAR = ["q_proj", "v_proj", "down_proj"]
#: PEFT type and settings of real adapters; the targets are LINEAR where none are given.
ADAPTERS: list[tuple[str, Config]] = [
    ("LORA", {"r": 4}),
    ("LORA", {"r": 4, "task_type": "CAUSAL_LM", "target_modules": r".*\.1\..*(q|down)_proj"}),
    ("LORA", {"r": 2, "use_dora": True}),
    ("LORA", {"r": 4, "use_rslora": True, "rank_pattern": {"q_proj": 2, "1.mlp.down_proj": 3}}),
    ("LORA", {"r": 2, "lora_bias": True, "bias": "all"}),
    ("LORA", {"r": 2, "modules_to_save": ["lm_head", "norm"]}),
    ("LORA", {"r": 2, "target_modules": ["embed_tokens", "q_proj", "lm_head"]}),
    ("LORA", {"r": 2, "trainable_token_indices": {"embed_tokens": [1, 5, 7]}}),
    ("LORA", {"r": 2, "layers_to_transform": [1], "layers_pattern": "layers"}),
    ("LORA", {"r": 2, "target_modules": "all-linear", "exclude_modules": ["gate_proj"]}),
    ("ADALORA", {"init_r": 3, "target_r": 2, "total_step": 10}),
    ("LOHA", {"r": 3, "rank_pattern": {"v_proj": 2}}),
    ("LOKR", {"r": 2, "decompose_both": True}),
    ("LOKR", {"r": 1, "decompose_factor": 4}),
    ("IA3", {"feedforward_modules": ["down_proj"]}),
    ("VERA", {"r": 3}),
    ("VBLORA", {"r": 2, "num_vectors": 5, "vector_length": 4}),
    ("GRALORA", {"r": 4, "gralora_k": 2}),
    ("DELORA", {"r": 3}),
    ("HIRA", {"r": 3}),
    ("HRA", {"r": 2}),
    ("OFT", {"oft_block_size": 4}),
    ("BOFT", {"boft_block_size": 4}),
    ("FOURIERFT", {"n_frequency": 6}),
    ("LN_TUNING", {"target_modules": ["norm", "input_layernorm"]}),
    ("TRAINABLE_TOKENS", {"token_indices": [1, 3], "target_modules": ["embed_tokens"]}),
]
#: Types whose shapes no formula of ours gives: their keys and targets are edited, not their shapes.
SHAPELESS = ("VBLORA", "OFT", "BOFT", "FOURIERFT")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Tensors, Config]]:
    found = []
    for number, (kind, settings) in enumerate(ADAPTERS):
        folder = tmp_path_factory.mktemp(f"adapter-{number}")
        made = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(kind)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = made(**{"target_modules": LINEAR, **settings})
        models.save_adapter(model(), config, folder, seed=number)
        tensors = {
            key: torch.randn_like(tensor) if tensor.is_floating_point() else tensor
            for key, tensor in load_file(folder / "adapter_model.safetensors").items()
        }
        found.append((tensors, json.loads((folder / "adapter_config.json").read_text())))
    return found


def really_live(folder: Path) -> set[str]:
    """Return the modules that PEFT fills from the file; none where it raises."""
    held = {_bytes(t) for t in load_file(folder / "adapter_model.safetensors").values()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loaded = peft.PeftModel.from_pretrained(copy.deepcopy(model()), str(folder))
        except Exception:  # noqa: BLE001  whatever it raises: nothing is loaded
            return set()
    return {
        name.removeprefix(PREFIX)
        for name, module in loaded.named_modules()
        if not name.endswith(".token_adapter")
        and (own := [*_own(module)])
        and all(_bytes(tensor) in held for tensor in own)
    }


def _own(module: nn.Module) -> Iterator[torch.Tensor]:
    """Yield what an adapter's module was given."""
    if isinstance(module, ModulesToSaveWrapper):
        yield from module.modules_to_save["default"].state_dict().values()
    elif isinstance(module, TrainableTokensWrapper):
        yield module.token_adapter.trainable_tokens_delta["default"]
    elif isinstance(module, BaseTunerLayer) and type(module).__name__ != "TrainableTokensLayer":
        for name, tensor in module.state_dict().items():
            aside = ("base_layer.", "ranknum", "vera_A", "vera_B")
            if not name.startswith(aside) and ".default" in name:
                yield tensor
    elif isinstance(module, BaseTunerLayer):
        yield from module.trainable_tokens_delta.values()


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().numpy().tobytes()


def said_live(folder: Path) -> set[str]:
    """Return the modules that we say PEFT would fill."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    loading = rules.check(
        config,
        {key: tuple(tensor.shape) for key, tensor in tensors.items()},
        {key: tuple(tensor.shape) for key, tensor in model().state_dict().items()},
        model().config.to_dict(),
    )
    assert loading is not None
    return {path.removesuffix(".token_adapter") for path in loading.live}


# Edits of keys


def _some(draw: random.Random, tensors: Tensors) -> list[str]:
    """Draw one key, the keys of a module, of a layer, or all."""
    keys = sorted(tensors) or [""]
    one = draw.choice(keys)
    how = draw.choice(("key", "module", "layer", "all"))
    if how == "key":
        return [one]
    if how == "module":
        stem = one.split("_proj")[0]
        return [key for key in keys if key.startswith(stem)]
    if how == "layer":
        return [key for key in keys if ".layers.1." in key] or keys
    return keys


def _renamed(draw: random.Random, tensors: Tensors, change: Callable[[str], str]) -> None:
    for key in _some(draw, tensors):
        tensors[change(key)] = tensors.pop(key, torch.randn(1))


def _before(word: str) -> Edit:
    return lambda draw, tensors, config: _renamed(draw, tensors, lambda key: f"{word}.{key}")


def _replace(old: str, new: str) -> Edit:
    return lambda draw, tensors, config: _renamed(
        draw, tensors, lambda key: key.replace(old, new, 1)
    )


def _inside(word: str) -> Edit:
    return _replace(".layers.1.", f".layers.1.{word}.")


def _drop(draw: random.Random, tensors: Tensors, config: Config) -> None:
    for key in _some(draw, tensors)[: max(1, len(tensors) - 1)]:
        tensors.pop(key, None)


def _adapter_name(draw: random.Random, tensors: Tensors, config: Config) -> None:
    name = draw.choice(("default", "other"))

    def insert(key: str) -> str:
        before, _, last = key.rpartition(".")
        return f"{before}.{name}.{last}" if last in ("weight", "bias") else f"{key}.{name}"

    _renamed(draw, tensors, insert)


def _extra(draw: random.Random, tensors: Tensors, config: Config) -> None:
    for key in _some(draw, tensors):
        if "q_proj" in key:
            tensors[key.replace("q_proj", "k_proj")] = torch.randn(2, 8)
    tensors["base_model.model.something.else"] = torch.randn(3)


KEYS: list[Edit] = [
    *(_before(word) for word in ("_orig_mod", "module", "base_model.model", "x")),
    *(_inside(word) for word in ("_fsdp_wrapped_module", "_checkpoint_wrapped_module")),
    _replace("base_model.model.", ""),
    _replace("base_model.model.model.", "base_model.model."),
    _replace("base_model.model.", "base_model.model._orig_mod."),
    _replace(".layers.1.", ".layers.7."),
    _replace("q_proj", "query"),
    _replace("lora_A", "lora_a"),
    _drop,
    _drop,
    _adapter_name,
    _adapter_name,
    _extra,
]


# Edits of shapes


def _halved(draw: random.Random, tensors: Tensors, config: Config) -> None:
    axis = draw.choice((0, 1))
    for key in _some(draw, tensors):
        tensor = tensors[key]
        if tensor.dim() > axis and tensor.shape[axis] > 1 and not _is_vocabulary(tensor):
            tensors[key] = tensor.narrow(axis, 0, tensor.shape[axis] // 2).contiguous()


def _emptied(draw: random.Random, tensors: Tensors, config: Config) -> None:
    for key in _some(draw, tensors):
        tensors[key] = torch.zeros(0)


def _turned(draw: random.Random, tensors: Tensors, config: Config) -> None:
    for key in _some(draw, tensors):
        if tensors[key].dim() == 2:
            tensors[key] = tensors[key].T.contiguous()


def _is_vocabulary(tensor: torch.Tensor) -> bool:
    return 12 in tensor.shape


SHAPES: list[Edit] = [_halved, _halved, _emptied, _turned]


# Edits of the configuration


def _rank(draw: random.Random, tensors: Tensors, config: Config) -> None:
    name = "init_r" if "init_r" in config else "r"
    if name in config:
        config[name] = draw.choice((1, 2, 3, 4, 8))


def _pattern(draw: random.Random, tensors: Tensors, config: Config) -> None:
    if "rank_pattern" in config and config["peft_type"] != "ADALORA":
        patterns = ({}, {"q_proj": 4}, {"layers.1.*": 2}, {"self_attn.v_proj": 3, ".*": 4})
        config["rank_pattern"] = draw.choice(patterns)


def _targets(draw: random.Random, tensors: Tensors, config: Config) -> None:
    if config["peft_type"] in ("IA3", "TRAINABLE_TOKENS"):
        return
    config["target_modules"] = draw.choice(
        (
            ["q_proj"],
            ["q_proj", "v_proj", "k_proj", "down_proj"],
            ["nothing"],
            ["model.layers.0.self_attn.q_proj", "down_proj"],
            ["self_attn"],
            ["input_layernorm", "q_proj"],
            r".*\.0\..*_proj",
            r"model\.layers\.\d+\.self_attn\.(q|v)_proj",
            "all-linear",
            ["proj"],
        )
    )


def _layers(draw: random.Random, tensors: Tensors, config: Config) -> None:
    if "layers_to_transform" in config:
        config["layers_to_transform"] = draw.choice((None, [0], [1], 1, [0, 1], [5], []))
        config["layers_pattern"] = draw.choice((None, "layers", ["h", "layers"], ["h"], "model"))


def _excluded(draw: random.Random, tensors: Tensors, config: Config) -> None:
    if "exclude_modules" in config:
        config["exclude_modules"] = draw.choice(
            (["q_proj"], r".*\.1\..*", ["model.layers.0.mlp.down_proj"], ["proj"], LINEAR, "")
        )


def _to_save(draw: random.Random, tensors: Tensors, config: Config) -> None:
    config["modules_to_save"] = draw.choice(
        (None, ["lm_head"], ["norm"], ["q_proj"], ["mlp"], ["nothing"], ["model.norm", "lm_head"])
    )


def _switch(draw: random.Random, tensors: Tensors, config: Config) -> None:
    for name in ("use_dora", "lora_bias", "use_rslora"):
        if name in config and draw.random() < 0.5:
            config[name] = not config[name]


def _rows(draw: random.Random, tensors: Tensors, config: Config) -> None:
    if config["peft_type"] == "LORA":
        config["trainable_token_indices"] = draw.choice((None, [1, 2], {"embed_tokens": [3]}))


CONFIGS: list[Edit] = [_rank, _pattern, _targets, _targets, _layers, _excluded, _to_save]
CONFIGS += [_switch, _rows]


def _edited(draw: random.Random, tensors: Tensors, config: Config) -> None:
    shapes = [] if config["peft_type"] in SHAPELESS else SHAPES
    for _ in range(draw.choice((1, 1, 2))):
        draw.choice(draw.choice([KEYS, KEYS, CONFIGS, shapes or KEYS]))(draw, tensors, config)


def _write(folder: Path, tensors: Tensors, config: Config) -> None:
    save_file(
        {k: t.contiguous().clone() for k, t in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    (folder / "adapter_config.json").write_text(json.dumps(config))


def test_what_was_not_edited_is_live(tmp_path: Path, saved: list[tuple[Tensors, Config]]) -> None:
    for tensors, config in saved:
        _write(tmp_path, tensors, config)
        found = really_live(tmp_path)
        assert found, config["peft_type"]
        assert said_live(tmp_path) == found, config


def test_what_is_said_to_be_live_is_live(
    tmp_path: Path, saved: list[tuple[Tensors, Config]]
) -> None:
    outcomes = []
    for number in range(EDITS):
        draw = random.Random(number)
        tensors, config = copy.deepcopy(draw.choice(saved))
        _edited(draw, tensors, config)
        _write(tmp_path, tensors, config)
        found = really_live(tmp_path)
        assert said_live(tmp_path) == found, (number, config, sorted(tensors))
        outcomes.append(bool(found))
    assert 0.2 < sum(outcomes) / EDITS < 0.8  # both outcomes are tried


#: Values of LoRA's configuration, most of another type than PEFT takes.
VALUES: list[Config] = [
    *({"r": value} for value in ("4", None, True, [4], 4.0, math.nan, 0, -4)),
    *({name: value} for name in ("rank_pattern", "alpha_pattern") for value in ([1], None, "q")),
    {"rank_pattern": {"q_proj": "4"}},
    {"r": "4", "rank_pattern": {".*": 4}},
    *({"modules_to_save": value} for value in ("(a", "z", "lm_head", 3, [3], {"zz": 1})),
    {"exclude_modules": 5},
    {"layers_pattern": 5, "layers_to_transform": [0, 1]},
    {"target_parameters": "("},
    {"trainable_token_indices": "x"},
    *({"lora_alpha": value} for value in ("4", [1], True)),
]


def test_a_value_that_peft_cannot_take_leaves_nothing_live(
    tmp_path: Path, saved: list[tuple[Tensors, Config]]
) -> None:
    cases = [(*saved[0], values) for values in VALUES]
    for tensors, config in saved:
        name = "init_r" if config["peft_type"] == "ADALORA" else "r"
        if config["peft_type"] not in (*SHAPELESS, "LORA") and name in config:
            cases.append((tensors, config, {name: "2"}))
        if "rank_pattern" in config:
            cases += [(tensors, config, {"rank_pattern": value}) for value in ([1], "q", None, [])]
    for tensors, config, values in cases:
        _write(tmp_path, tensors, config | values)
        assert said_live(tmp_path) == really_live(tmp_path), (config["peft_type"], values)


def test_an_adapter_of_any_type_is_live_as_it_was_saved(tmp_path: Path) -> None:
    for case in {case.type: case for case in reversed(CASES)}.values():
        adapted = MODELS[case.on]()
        folder = models.save_adapter(adapted, case.config(), tmp_path / case.type)
        held = load_file(folder / "adapter_model.safetensors")
        found = rules.check(
            json.loads((folder / "adapter_config.json").read_text()),
            {key: tuple(tensor.shape) for key, tensor in held.items()},
            {key: tuple(tensor.shape) for key, tensor in adapted.state_dict().items()},
            adapted.config.to_dict() if hasattr(adapted, "config") else {},
        )
        assert found is not None and found.live == {*found.states} != set(), case
        assert not found.ignored, case


def test_prefixes_are_those_of_every_type_that_peft_has() -> None:
    known = {
        kind.value: prefix for kind, prefix in peft.mapping.PEFT_TYPE_TO_PREFIX_MAPPING.items()
    }
    assert {kind: known[kind] for kind in PREFIXES} == PREFIXES
    assert {*known} == {*PREFIXES, *OTHERS}


def test_fields_that_are_passed_over_are_those_that_no_configuration_has() -> None:
    made = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING
    for name, kinds in LACKING.items():
        have = {k for k in PREFIXES if name in made[peft.PeftType(k)].__dataclass_fields__}
        assert kinds == {*PREFIXES} - have, name
