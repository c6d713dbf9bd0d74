"""Configurations of every PEFT type that has no closed form: one more is one more line."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import peft
from torch import nn

from tests.oracle import models

LINEAR = ("q_proj", "v_proj", "down_proj")
MODELS: dict[str, Callable[[], nn.Module]] = {
    "llama": models.llama,
    "biased": lambda: models.llama(bias=True),
    "gpt2": models.gpt2,
    "convolutions": models.convolutions,
}


@dataclass(frozen=True)
class Case:
    """A configuration on a model."""

    type: str
    settings: dict[str, Any] = field(default_factory=dict)
    on: str = "llama"
    targets: tuple[str, ...] | str = LINEAR

    def config(self) -> Any:
        made = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(self.type)]
        targets = self.targets if isinstance(self.targets, str) else list(self.targets)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return made(target_modules=targets, **self.settings)

    def __str__(self) -> str:
        told = "-".join(f"{name}={value}" for name, value in self.settings.items())
        return "-".join(word for word in (self.type.lower(), self.on, told) if word)


GPT2 = ("attn.c_attn", "attn.c_proj", "mlp.c_fc")
CASES = [
    Case("ADAMSS", {"r": 12, "num_subspaces": 3}),
    Case("ADAMSS", {"r": 12, "num_subspaces": 3, "random_seed": 5}, "biased"),
    Case("BEFT", {}, "biased"),
    Case("BOFT", {"boft_block_size": 4}),
    Case("BOFT", {"boft_block_size": 4, "boft_n_butterfly_factor": 2}, "biased"),
    Case("BOFT", {"boft_block_size": 4, "bias": "boft_only"}, "biased"),
    Case("BOFT", {"boft_block_size": 4}, "convolutions", ("two", "point")),
    Case("C3A", {"block_size": 12}),
    Case("C3A", {"block_size": 12, "block_size_pattern": {"v_proj": 6}}),
    Case("DEFT", {"r": 4}),
    Case("DEFT", {"r": 4, "decomposition_method": "qr", "para": True}, "biased"),
    Case("DEFT", {"r": 4}, "gpt2", GPT2),
    Case("FOURIERFT", {"n_frequency": 30}),
    Case("FOURIERFT", {"n_frequency": 30, "n_frequency_pattern": {"layers.1.mlp.down_proj": 50}}),
    Case("FOURIERFT", {"n_frequency": 30, "random_loc_seed": 4}, "gpt2", GPT2),
    Case("FROD"),
    Case("FROD", {"sparse_rate": 0.1}, "gpt2", GPT2),
    Case("GLORA", {"r": 4}),
    Case("GLORA", {"r": 4}, "biased"),
    Case(
        "GLORA",
        {"r": 4, "config_A_B": "vector", "config_C": "vector", "config_D_E": "vector"},
        "biased",
    ),
    Case("HIRA", {"r": 4}),
    Case("HIRA", {"r": 4, "rank_pattern": {"q_proj": 2}}),
    Case("HIRA", {"r": 4}, "gpt2", (*GPT2, "wte")),
    Case("HIRA", {"r": 4}, "convolutions", ("one", "two", "point", "three")),
    Case("HRA", {"r": 4}),
    Case("HRA", {"r": 4, "apply_GS": True}),
    Case("HRA", {"r": 4}, "convolutions", ("two", "point")),
    Case("LORA", {"r": 4, "init_lora_weights": "pissa"}),
    Case(
        "LORA",
        {
            "r": 4,
            "init_lora_weights": "pissa",
            "use_rslora": True,
            "bias": "all",
            "rank_pattern": {"q_proj": 2},
            "alpha_pattern": {"v_proj": 3},
        },
        "biased",
    ),
    Case("LORA", {"r": 4, "init_lora_weights": "pissa"}, "gpt2", GPT2),
    Case("LORA", {"r": 4, "init_lora_weights": "pissa", "modules_to_save": ["lm_head"]}),
    Case(
        "LORA",
        {
            "r": 4,
            "init_lora_weights": "pissa",
            "trainable_token_indices": {"embed_tokens": [1, 5]},
        },
    ),
    Case("LORA", {"r": 4, "init_lora_weights": "pissa"}, targets=("embed_tokens", "q_proj")),
    Case("LORA", {"r": 4, "init_lora_weights": "olora"}),
    Case("LORA", {"r": 4, "init_lora_weights": "olora", "use_rslora": True}, "biased"),
    Case("LORA", {"r": 4, "kasa_config": peft.tuners.lora.config.KasaConfig()}),
    Case("MISS", {"r": 4}),
    Case("MISS", {"r": 4, "init_weights": "bat"}, "llama", ("q_proj",)),
    Case("MISS", {"r": 4, "init_weights": "mini", "mini_r": 2}),
    Case("OFT", {"oft_block_size": 6}),
    Case("OFT", {"oft_block_size": 0, "r": 2, "block_share": True}, "biased"),
    Case("OFT", {"oft_block_size": 6, "coft": True, "use_cayley_neumann": False}),
    Case("OFT", {"oft_block_size": 6, "bias": "oft_only"}, "biased"),
    Case("OFT", {"oft_block_size": 4}, "convolutions", ("two", "point")),
    Case("OFT", {"oft_block_size": 6}, "llama", ("embed_tokens", "q_proj")),
    Case("OSF", {"effective_rank": 6}),
    Case("OSF", {"effective_rank": 6, "rank_pattern": {"q_proj": 3}}),
    Case("PEANUT", {"r": 4}),
    Case("PEANUT", {"r": 4, "depth": 2, "act_fn": "tanh", "scaling": 2.0}),
    Case("PSOFT", {"r": 6}),
    Case("PSOFT", {"r": 6, "psoft_orth": False, "psoft_mag_a": False, "psoft_alpha": 3}),
    Case("PSOFT", {"r": 6, "psoft_svd": "lowrank", "random_seed": 3}),
    Case("PVERA", {"r": 4}),
    Case("PVERA", {"r": 4, "save_projection": False, "projection_prng_key": 9}),
    Case("PVERA", {"r": 4, "sample_at_inference": True}),
    Case("RANDLORA", {"r": 4}),
    Case("RANDLORA", {"r": 4, "save_projection": False, "sparse": True}),
    Case("RANDLORA", {"r": 4, "save_projection": False, "very_sparse": True}),
    Case("RANDLORA", {"r": 4, "save_projection": False}, "gpt2", GPT2),
    Case("ROAD", {"group_size": 4}),
    Case("ROAD", {"group_size": 4, "variant": "road_2"}, "biased"),
    Case("ROAD", {"group_size": 4, "variant": "road_4"}, "biased"),
    Case("SHIRA", {"r": 4, "random_seed": 3}),
    Case("SUPERTUNING", {"sparsity": 0.9}),
    Case(
        "SUPERTUNING", {"sparsity": 0.9, "save_precomputed_indices": False, "r": 4, "lora_alpha": 7}
    ),
    Case("TINYLORA", {"r": 2, "u": 8}),
    Case("TINYLORA", {"r": 2, "u": 8, "weight_tying": 0.5}),
    Case("TINYLORA", {"r": 2, "u": 8, "weight_tying": 1.0}),
    Case("TINYLORA", {"r": 2, "u": 8, "weight_tying": 0.5, "save_projection": False}),
    Case("TINYLORA", {"r": 2, "u": 8}, "gpt2", GPT2),
    Case("UNILORA", {"r": 4, "theta_d_length": 50}),
    Case("UNILORA", {"r": 4, "theta_d_length": 50, "proj_seed": 7}, "gpt2", GPT2),
    Case("UNILORA", {"r": 4, "theta_d_length": 50}, "llama", r".*\.1\..*(q|up)_proj"),
    Case(
        "UNILORA",
        {"r": 4, "theta_d_length": 50, "layers_to_transform": [1]},
    ),
    Case("UNILORA", {"r": 4, "theta_d_length": 50, "save_indices": True}),
    Case("VERA", {"r": 4, "save_projection": False}),
    Case("WAVEFT", {"n_frequency": 30}),
    Case("WAVEFT", {"n_frequency": 30, "proportional_parameters": True}),
    Case("WAVEFT", {"n_frequency": 30, "wavelet_family": "sym2", "use_idwt": False}),
    Case("WAVEFT", {"n_frequency": 30}, "gpt2", GPT2),
]


LANGUAGE = {"task_type": "CAUSAL_LM"}
#: What is given to the types that change no base weight.
BESIDE: dict[str, dict[str, Any]] = {
    "ADAPTION_PROMPT": {"adapter_len": 3, "adapter_layers": 1, **LANGUAGE},
    "CARTRIDGE": {"num_virtual_tokens": 3, **LANGUAGE},
    "CPT": {
        "cpt_token_ids": [1, 2, 3],
        "cpt_mask": [1, 1, 1],
        "cpt_tokens_type_mask": [1, 2, 2],
        **LANGUAGE,
    },
    "LILY": {"r": 4, "target_modules": ["q_proj"]},
    "MULTITASK_PROMPT_TUNING": {"num_virtual_tokens": 3, "num_tasks": 2, **LANGUAGE},
    "POLY": {"r": 4, "target_modules": ["q_proj"]},
    "PREFIX_TUNING": {"num_virtual_tokens": 3, **LANGUAGE},
    "PROMPT_TUNING": {"num_virtual_tokens": 3, **LANGUAGE},
    "P_TUNING": {"num_virtual_tokens": 3, "encoder_hidden_size": 8, **LANGUAGE},
    "SHADOW": {"r": 4, **LANGUAGE},
}
