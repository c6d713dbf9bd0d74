"""LoRA: ΔW = scaling · B A, with the scaling that the configuration asks for, and says why."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ftdiff.adapters.module import Module, Reading
from ftdiff.adapters.orientation import stored
from ftdiff.adapters.patterns import number
from ftdiff.errors import BadAdapter
from ftdiff.recipes import Added, Product, Recipe, Unreadable
from ftdiff.tensors import LazyTensor, numel

_LAYER = re.compile(
    r"(?P<path>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B)"
    r"(?:\.[^.]+)??(?P<param>\.weight|\.bias)?"
)
#: Switches that change the formula; each has a reader of its own, or is refused by name.
_OTHER_FORMULAS = {
    "use_dora": "DoRA rescales every row of the sum",
    "kasa_config": "KaSA truncates the base first",
    "use_qalora": "QALoRA pools its input in groups",
    "use_bdlora": "BD-LoRA's factors are block diagonal",
    "target_parameters": "experts are adapted in one three-dimensional tensor",
    "layer_replication": "layers are replicated",
    "lora_bias": "the factors carry biases",
    "trainable_token_indices": "single rows are replaced",
}
_PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal")


def check(config: Mapping[str, Any]) -> None:
    """Raise for a configuration whose change is not scaling · B A.

    Raises
    ------
    BadAdapter
        It asks for another formula, named in the message.
    """
    for switch, why in _OTHER_FORMULAS.items():
        if config.get(switch):
            raise BadAdapter(f"adapter_config.json: {switch} is set ({why}); not read yet")
    init = config.get("init_lora_weights")
    if init not in _PLAIN_INITS:
        raise BadAdapter(
            f"adapter_config.json: init_lora_weights is {init!r}: the factors are not the change, "
            "since the base was replaced by a residual; convert it with peft's save_pretrained("
            "path_initial_model_for_weight_conversion=…)"
        )


def kind(config: Mapping[str, Any]) -> str:
    """Return "lora", or "rslora"."""
    return "rslora" if config.get("use_rslora") else "lora"


def split(name: str) -> tuple[str, str] | None:
    """Return module path and suffix, dropping an adapter's name (`lora_A.default.weight`)."""
    found = _LAYER.fullmatch(name)
    return (found["path"], found["part"] + (found["param"] or "")) if found else None


def read(module: Module) -> Reading:
    """Return the recipe of a module's weight, keyed by the base's name of it."""
    embedding = any(suffix.startswith("lora_embedding") for suffix in module.tensors)
    A, B = _factors(module, embedding)
    name = module.target.name(f"{module.path}.weight")
    if A is None or B is None:
        return Reading({name: _half(module, A, B)})
    rank = A.shape[0] if A.shape else 0
    inner = numel(B.shape[1:])
    if len(A.shape) < 2 or len(B.shape) < 2 or inner != rank or not rank:
        reason = f"{module.path}: lora_A {_times(A)} and lora_B {_times(B)} do not multiply"
        return Reading({name: Unreadable(B.shape, reason)})
    scaling, origin = scale(module, rank)
    recipe = _recipe(module, A, B, scaling, embedding)
    return Reading({name: recipe}, {name: origin})


def scale(module: Module, rank: int) -> tuple[float, str]:
    """Return α/r or α/√r, and where each number came from.

    The rank is the factors' own: a configuration may name another. Patterns match the end of a
    module's path, the first hit counts, as in PEFT.

    Raises
    ------
    BadAdapter
        The configuration has no α.
    """
    alpha, pattern = number(module, "lora_alpha", "alpha_pattern")
    why = [pattern] if pattern else []
    if module.config.get("use_rslora"):
        told = " and ".join(["use_rslora", *why])
        return alpha / math.sqrt(rank), f"α/√r = {alpha:g}/√{rank}, {told} in adapter_config.json"
    told = "".join(f"{reason} in " for reason in why)
    return alpha / rank, f"α/r = {alpha:g}/{rank}, {told}adapter_config.json"


def _factors(module: Module, embedding: bool) -> tuple[LazyTensor | None, LazyTensor | None]:
    if embedding:
        return module.tensors.get("lora_embedding_A"), module.tensors.get("lora_embedding_B")
    return module.tensors.get("lora_A.weight"), module.tensors.get("lora_B.weight")


def _recipe(
    module: Module, A: LazyTensor, B: LazyTensor, scaling: float, embedding: bool
) -> Recipe:
    out, into = B.shape[0], numel(A.shape[1:])
    if embedding:  # the factors are transposed, whatever the configuration says of the others
        return Added((into, out), Product(A, B, scaling, transposed=True))
    shape, turned = stored(module, out, into, (out, *A.shape[1:]))
    return Added(shape, Product(A, B, scaling, turned))


def _half(module: Module, A: LazyTensor | None, B: LazyTensor | None) -> Unreadable:
    here, gone = ("lora_A", "lora_B") if A is not None else ("lora_B", "lora_A")
    tensor = A if A is not None else B
    if tensor is None:
        return Unreadable((), f"{module.path}: neither lora_A nor lora_B in the adapter")
    return Unreadable(
        tensor.shape, f"{module.path}: adapter has {here} ({_times(tensor)}) but no {gone}"
    )


def _times(tensor: LazyTensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
