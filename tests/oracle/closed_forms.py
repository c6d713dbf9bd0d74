"""Configurations of every type with a closed form, and models that tell them apart."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import torch
from torch import nn

from tests.oracle import models
from tests.oracle.agreement import (
    save_adapter,
    save_base,
)

LINEAR = ["q_proj", "k_proj", "down_proj"]
CONV1D = ["c_attn", "c_proj", "c_fc"]


class Kernels(nn.Module):
    """Convolutions with kernels of every kind that LyCORIS' types tell apart, and groups."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv1d(16, 24, 3)
        self.dot = nn.Conv1d(8, 8, 1)
        self.two = nn.Conv2d(8, 12, (3, 2))
        self.point = nn.Conv2d(12, 8, 1)
        self.grouped = nn.Conv2d(8, 12, 3, groups=2)
        self.three = nn.Conv3d(4, 6, 2)
        self.bare = nn.Conv2d(4, 6, 2, bias=False)


def kernels() -> nn.Module:
    torch.manual_seed(5)
    return Kernels().eval()


@dataclass(frozen=True)
class Case:
    """A configuration: its type, the model, its targets, and what the type's class is given."""

    type: str
    targets: list[str] | str = field(default_factory=lambda: list(LINEAR))
    options: dict[str, Any] = field(default_factory=dict)
    model: Callable[[], nn.Module] = models.llama
    change: Callable[[nn.Module], None] | None = None

    def config(self) -> Any:
        made = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(self.type)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return made(target_modules=self.targets, **self.options)


def biased() -> nn.Module:
    return models.llama(bias=True)


def prune(model: nn.Module) -> None:
    """Keep other singular values in every module, none in one, as AdaLoRA's allocator does."""
    kept = {}
    for i, (name, _) in enumerate(n for n in model.named_parameters() if ".lora_E." in n[0]):
        path = name.removeprefix("base_model.model.").removesuffix(".default")
        kept[path] = [(i + j) % 3 > 0 and i > 0 for j in range(6)]
    model.peft_config["default"].rank_pattern = kept


ADALORA = {"init_r": 6, "lora_alpha": 5, "total_step": 10}
PATTERNS = {
    "rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 5},
    "alpha_pattern": {"k_proj": 9},
}
LYCORIS_2D = ["two", "point"]
LYCORIS_1D = ["one", "dot"]

CASES = {
    "adalora": Case("ADALORA", options=ADALORA),
    "adalora pruned": Case("ADALORA", options=ADALORA, change=prune),
    "adalora without alpha, pruned": Case(
        "ADALORA", options=ADALORA | {"lora_alpha": 0}, change=prune
    ),
    "adalora Conv1D": Case("ADALORA", CONV1D, ADALORA | {"fan_in_fan_out": True}, models.gpt2),
    "adalora convolutions": Case("ADALORA", LYCORIS_2D, ADALORA, kernels),
    "adalora with biases": Case("ADALORA", options=ADALORA | {"bias": "all"}, model=biased),
    "delora": Case("DELORA", options={"r": 4}),
    "delora patterns": Case(
        "DELORA", options={"r": 4, "rank_pattern": {"q_proj": 2}, "lambda_pattern": {"k_proj": 3.0}}
    ),
    "delora with biases": Case("DELORA", options={"r": 4, "bias": "all"}, model=biased),
    "gralora": Case("GRALORA", options={"r": 4, "gralora_k": 2, "alpha": 7}),
    "gralora of four": Case("GRALORA", options={"r": 8, "gralora_k": 4, "alpha": 7}),
    "gralora with a plain pair": Case("GRALORA", options={"r": 6, "gralora_k": 3, "hybrid_r": 2}),
    "gralora Conv1D": Case(
        "GRALORA", CONV1D, {"r": 4, "hybrid_r": 3, "fan_in_fan_out": True}, models.gpt2
    ),
    "ia3": Case("IA3", options={"feedforward_modules": ["down_proj"]}, model=biased),
    "ia3 by pattern": Case(
        "IA3", r".*(q_proj|down_proj)", {"feedforward_modules": r".*\.down_proj"}
    ),
    "ia3 Conv1D": Case("IA3", CONV1D, {"feedforward_modules": ["c_fc"]}, models.gpt2),
    "ia3 Conv1D, square inputs": Case(
        "IA3", CONV1D, {"feedforward_modules": ["c_proj"]}, models.gpt2
    ),
    "ia3 convolutions": Case(
        "IA3",
        ["two", "point", "grouped", "three", "bare"],
        {"feedforward_modules": ["point", "grouped"]},
        kernels,
    ),
    "ia3 grouped outputs": Case("IA3", ["grouped"], {"feedforward_modules": []}, kernels),
    "ln tuning": Case("LN_TUNING", ["input_layernorm", "model.norm"]),
    "ln tuning with biases": Case("LN_TUNING", ["ln_1", "ln_f"], model=models.gpt2),
    "ln tuning of linear layers": Case("LN_TUNING", ["q_proj"], model=biased),
    "loha": Case("LOHA", options={"r": 2, "alpha": 3}),
    "loha above the sides": Case("LOHA", options={"r": 7, "alpha": 3}),
    "loha patterns": Case("LOHA", options={"r": 3, "alpha": 4} | PATTERNS),
    "loha convolutions": Case("LOHA", LYCORIS_2D + LYCORIS_1D, {"r": 2, "alpha": 3}, kernels),
    "loha Tucker": Case(
        "LOHA", LYCORIS_2D + LYCORIS_1D, {"r": 2, "alpha": 3, "use_effective_conv2d": True}, kernels
    ),
    "lokr": Case("LOKR", options={"r": 2, "alpha": 3}),
    "lokr both decomposed": Case(
        "LOKR", options={"r": 1, "alpha": 3, "decompose_both": True, "decompose_factor": 6}
    ),
    "lokr both whole": Case("LOKR", options={"r": 20, "alpha": 3}),
    "lokr by factor": Case("LOKR", options={"r": 2, "alpha": 3, "decompose_factor": 2}),
    "lokr patterns": Case("LOKR", options={"r": 3, "alpha": 4} | PATTERNS),
    "lokr patterns, whole": Case(
        "LOKR",
        options={
            "r": 30,
            "alpha": 4,
            "rank_pattern": {"q_proj": 20},
            "alpha_pattern": {"k_proj": 9},
        },
    ),
    "lokr convolutions": Case("LOKR", LYCORIS_2D + LYCORIS_1D, {"r": 1, "alpha": 3}, kernels),
    "lokr convolutions, whole": Case(
        "LOKR", LYCORIS_2D + LYCORIS_1D, {"r": 12, "alpha": 3}, kernels
    ),
    "lokr Tucker": Case(
        "LOKR", ["two"], {"r": 1, "alpha": 3, "use_effective_conv2d": True}, kernels
    ),
    "lokr Tucker, one dimension": Case(
        "LOKR", LYCORIS_1D, {"r": 2, "alpha": 3, "use_effective_conv2d": True}, kernels
    ),
    "trainable tokens": Case("TRAINABLE_TOKENS", ["embed_tokens"], {"token_indices": [5, 0, 39]}),
    "vblora": Case("VBLORA", options={"r": 3, "topk": 2, "num_vectors": 9, "vector_length": 4}),
    "vblora of the largest alone": Case(
        "VBLORA",
        options={
            "r": 3,
            "topk": 3,
            "num_vectors": 9,
            "vector_length": 4,
            "save_only_topk_weights": True,
        },
    ),
    "vblora Conv1D": Case(
        "VBLORA",
        CONV1D,
        {"r": 3, "topk": 2, "num_vectors": 9, "vector_length": 4, "fan_in_fan_out": True},
        models.gpt2,
    ),
    "vera": Case("VERA", options={"r": 5, "d_initial": 0.4}),
    "vera Conv1D": Case("VERA", CONV1D, {"r": 5, "fan_in_fan_out": True}, models.gpt2),
    "vera with biases": Case("VERA", options={"r": 5, "bias": "vera_only"}, model=biased),
    "modules to save": Case("LOHA", options={"r": 2, "modules_to_save": ["lm_head"]}),
}


Saved = tuple[nn.Module, Path, Path]
#: A model, its folder and a fresh copy of its adapter's, by the name of the case.
Shelf = Callable[[str], Saved]


def saved(case: Case, folder: Path) -> Saved:
    model = case.model()
    base = save_base(model, folder / "base")
    adapter = save_adapter(model, case.config(), folder / "adapter", change=case.change)
    return model, base, adapter
