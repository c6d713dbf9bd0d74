"""Merges made in every legitimate order, and wrong ones: by PEFT, or by torch arithmetic."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

State = dict[str, torch.Tensor]
F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16
DTYPES = {"F32": F32, "BF16": BF16, "F16": F16}
TARGETS = ("q_proj", "v_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Pair:
    """A base model in memory, and a LoRA folder of it.

    `changes` has A, B and the scale by the name of the base tensor.
    """

    model: Any
    adapter: Path

    @property
    def changes(self) -> dict[str, tuple[torch.Tensor, torch.Tensor, float]]:
        config = json.loads((self.adapter / "adapter_config.json").read_text())
        state = load_file(self.adapter / "adapter_model.safetensors")
        found = {}
        for key, A in state.items():
            if "lora_A" in key:
                name = key.removeprefix("base_model.model.").replace(".lora_A", "")
                scaling = config["lora_alpha"] / config["r"]
                found[name] = (A, state[key.replace("lora_A", "lora_B")], scaling)
        return found

    def base(self, dtype: torch.dtype) -> State:
        return {name: W.detach().to(dtype) for name, W in self.model.state_dict().items()}


def llama(hidden: int = 64, layers: int = 2, seed: int = 0) -> Any:
    config = transformers.LlamaConfig(
        vocab_size=48,
        hidden_size=hidden,
        intermediate_size=3 * hidden // 2,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 0.02) if weight.ndim > 1 else weight.add_(
                0.05 * torch.randn_like(weight)
            )
    return model


def lora(
    folder: Path,
    model: Any,
    change: float,
    *,
    dtype: torch.dtype = F32,
    alpha: int = 6,
    rank: int = 4,
    seed: int = 1,
) -> Pair:
    """Save an adapter by PEFT whose ΔW is `change` of each weight's norm."""
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(TARGETS))
    adapted = get_peft_model(copy.deepcopy(model), config)
    adapted.save_pretrained(str(folder))
    file = folder / "adapter_model.safetensors"
    state = load_file(file)
    weights = model.state_dict()
    for key in [key for key in state if "lora_A" in key]:
        other = key.replace("lora_A", "lora_B")
        A, B = torch.randn_like(state[key]), torch.randn_like(state[other])
        W = weights[key.removeprefix("base_model.model.").replace(".lora_A", "")]
        B *= change * W.norm() / ((B @ A).norm() * alpha / rank)
        state[key], state[other] = A.to(dtype), B.to(dtype)
    save_file(state, file)
    return Pair(model, folder)


def by_peft(pair: Pair, dtype: torch.dtype, *, safe: bool = False, cast: bool = True) -> State:
    """Load the base in a dtype and merge; `cast` lets PEFT keep the adapter in float32."""
    model = copy.deepcopy(pair.model).to(dtype)
    adapted = PeftModel.from_pretrained(model, str(pair.adapter), autocast_adapter_dtype=cast)
    merged = adapted.merge_and_unload(safe_merge=safe)
    return {name: W.detach().clone() for name, W in merged.state_dict().items()}


#: How ΔW is made of A, B and the scale.
Product = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


def by_hand(
    pair: Pair,
    base: State,
    product: Product,
    stored: torch.dtype,
    *,
    times: int = 1,
    onto: Callable[[torch.Tensor], torch.Tensor] = lambda W: W,
) -> State:
    """Add a product to the base in torch's promotion, and store it."""
    state = {name: W.to(stored) for name, W in base.items()}
    for name, (A, B, scaling) in pair.changes.items():
        W = onto(base[name])
        for _ in range(times):
            W = (W + product(A, B, scaling)).to(W.dtype)
        state[name] = W.to(stored)
    return state


def full(A: torch.Tensor, B: torch.Tensor, s: float) -> torch.Tensor:
    return (B.float() @ A.float()) * s


def scaled_first(A: torch.Tensor, B: torch.Tensor, s: float) -> torch.Tensor:
    return (s * B.float()) @ A.float()


def low(dtype: torch.dtype) -> Product:
    """A product in few bits, accumulated in float32 as graphics cards do, scaled afterwards."""
    return lambda A, B, s: (B.to(dtype).float() @ A.to(dtype).float()).to(dtype) * s


def low_scaled_first(dtype: torch.dtype) -> Product:
    return lambda A, B, s: ((B.to(dtype) * s).float() @ A.to(dtype).float()).to(dtype)


def low_factors(dtype: torch.dtype) -> Product:
    return lambda A, B, s: full(A.to(dtype), B.to(dtype), s)


def tensor_float(A: torch.Tensor, B: torch.Tensor, s: float) -> torch.Tensor:
    """A product of factors with ten bits, as TensorFloat-32 makes it: no replay is this."""
    return full(_ten_bits(A), _ten_bits(B), s)


def _ten_bits(values: torch.Tensor) -> torch.Tensor:
    bits = values.float().contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


#: The order whose base is stored in float32, whatever the file.
FROM_F32 = "peft in float32, then cast"
#: Orders in which a merge may be made, into a file of the dtype.
ORDERS: Mapping[str, Callable[[Pair, torch.dtype], State]] = {
    "peft": lambda p, d: by_peft(p, d),
    "peft, safe_merge": lambda p, d: by_peft(p, d, safe=True),
    "peft, adapter in the model's dtype": lambda p, d: by_peft(p, d, cast=False),
    FROM_F32: lambda p, d: {k: W.to(d) for k, W in by_peft(p, F32).items()},
    "(scaling·B)·A in float32": lambda p, d: by_hand(p, p.base(d), scaled_first, d),
    "product in bf16, added": lambda p, d: by_hand(p, p.base(d), low(BF16), d),
    "product in f16, added": lambda p, d: by_hand(p, p.base(d), low(F16), d),
    "(scaling·B)·A in bf16, added": lambda p, d: by_hand(p, p.base(d), low_scaled_first(BF16), d),
    "product in bf16, added in float32": lambda p, d: by_hand(
        p, p.base(d), low(BF16), d, onto=torch.Tensor.float
    ),
    "factors in bf16, product in float32": lambda p, d: by_hand(p, p.base(d), low_factors(BF16), d),
    "TensorFloat-32 product": lambda p, d: by_hand(p, p.base(d), tensor_float, d),
}


def base_of(order: str, pair: Pair, dtype: torch.dtype) -> State:
    return pair.base(F32 if order == FROM_F32 else dtype)


def scaled(factor: float) -> Callable[[Pair, torch.dtype], State]:
    return lambda p, d: by_hand(p, p.base(d), lambda A, B, s: full(A, B, factor * s), d)


def checkpoint(share: float) -> Callable[[Pair, torch.dtype], State]:
    """Another checkpoint of the adapter: both factors moved by a share of their norm."""

    def make(pair: Pair, dtype: torch.dtype) -> State:
        draw = torch.Generator().manual_seed(7)

        def moved(X: torch.Tensor) -> torch.Tensor:
            return X + share * X.norm() / X.numel() ** 0.5 * torch.randn(X.shape, generator=draw)

        return by_hand(pair, pair.base(dtype), lambda A, B, s: full(moved(A), moved(B), s), dtype)

    return make


def corrupted(pair: Pair, dtype: torch.dtype) -> State:
    state = by_peft(pair, dtype)
    name = next(iter(pair.changes))
    W = state[name] = state[name].clone()
    W[3, 5] *= 1.5
    return state


def another_base(share: float) -> Callable[[Pair, torch.dtype], State]:
    """The same adapter on a base whose matrices differ by a share of their norm."""

    def make(pair: Pair, dtype: torch.dtype) -> State:
        draw = torch.Generator().manual_seed(9)
        base = {
            name: W + share * W.norm() / W.numel() ** 0.5 * torch.randn(W.shape, generator=draw)
            if W.ndim > 1
            else W
            for name, W in pair.base(F32).items()
        }
        base = {name: W.to(dtype) for name, W in base.items()}
        return by_hand(pair, base, full, dtype)

    return make


def twice(pair: Pair, dtype: torch.dtype) -> State:
    return by_hand(pair, pair.base(dtype), full, dtype, times=2)


def skipped(pair: Pair, dtype: torch.dtype) -> State:
    state = by_peft(pair, dtype)
    name = next(iter(pair.changes))
    return {**state, name: pair.base(dtype)[name]}


#: Merges that are none, and the verdicts that are right for them.
WRONG: Mapping[str, tuple[Callable[[Pair, torch.dtype], State], tuple[str, ...]]] = {
    "×1.002": (scaled(1.002), ("other_scale",)),
    "×1.01": (scaled(1.01), ("other_scale",)),
    "×0.5": (scaled(0.5), ("other_scale",)),
    "another checkpoint (factors 0.5 % apart)": (checkpoint(0.005), ("other_change", "several")),
    "another checkpoint (factors 1 % apart)": (checkpoint(0.01), ("other_change", "several")),
    "another checkpoint (factors 5 % apart)": (checkpoint(0.05), ("other_change", "several")),
    "one corrupted entry": (corrupted, ("corrupted",)),
    "another base, 5e-4 apart": (another_base(5e-4), ("other_base",)),
    "merged twice": (twice, ("merged_twice",)),
    "one module skipped": (skipped, ("partly_merged",)),
}
