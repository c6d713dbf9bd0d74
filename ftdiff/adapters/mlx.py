"""MLX-LM's folders: factors transposed against PEFT's, and a scale that is final."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.adapters import expert_pairs
from ftdiff.adapters import single_file as lonefile
from ftdiff.adapters.assembly import Assembly
from ftdiff.adapters.family import Module, Reading, Target
from ftdiff.adapters.peft import folder as peft
from ftdiff.adapters.peft.closed_forms.dora import Dora
from ftdiff.adapters.peft.closed_forms.lora_factors import times
from ftdiff.adapters.saved_copies import STRAY, is_copy
from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.recipes import Added, Maker, Rebuilt, Recipe, Replaced, Tuned, Unreadable
from ftdiff.deltas.recipes.added import matrix
from ftdiff.errors import BadAdapter
from ftdiff.formats import Checkpoint, find, open_stored
from ftdiff.formats.checkpoint import read_json
from ftdiff.formats.place import Place
from ftdiff.tensors import LazyTensor, numel

CONFIG = "adapter_config.json"
_WEIGHTS = "adapters"
#: What float32 can hold, below.
_LARGEST = 3.4e38
_PARTS = ("lora_a", "lora_b", "m")


@dataclass(frozen=True)
class Transposed:
    """ΔW = scaling · (A B)ᵀ, or A B for an embedding.

    Parameters
    ----------
    A, B
        in × r and r × out.
    scaling
        The configuration's scale, as it is.
    embedding
        The base is stored in × out.
    """

    A: LazyTensor
    B: LazyTensor
    scaling: float
    embedding: bool = False

    def make(self) -> LowRank:
        """Read both factors as float32."""
        A, B = matrix(self.A), matrix(self.B)
        if self.embedding:
            return LowRank(A, B, self.scaling)
        return LowRank(np.ascontiguousarray(B.T), np.ascontiguousarray(A.T), self.scaling)


def recognises(path: Place) -> bool:
    """Say whether `path` is a folder of MLX-LM's, or the weights file in one."""
    weights = find(path, _WEIGHTS)
    return weights is not None and find(weights.parent, peft.WEIGHTS) is None and _ours(weights)


def _ours(weights: Place) -> bool:
    return (weights.parent / CONFIG).is_file() or any(
        name.endswith((".lora_a", ".lora_b")) for name in lonefile.names(weights)
    )


def open_(path: Place, base: Checkpoint | None) -> Tuned:
    """Read the configuration and the header, and resolve every module's change.

    Raises
    ------
    BadFile, BadAdapter
        A file lies, or the configuration has no scale.
    """
    folder = path.home
    config = read_json(folder / CONFIG)
    weights = find(path, _WEIGHTS)
    assert weights is not None
    opened = open_stored(weights)
    kind = config.get("fine_tune_type", "lora")
    if kind not in ("lora", "dora", "full"):
        raise BadAdapter(f"{folder / CONFIG}: fine_tune_type {kind!r} is not lora, dora or full")
    assembly = Assembly(base, opened.tensors)
    target = Target(base)
    modules, plain = _sorted(opened.tensors, kind)
    for name, tensor in plain.items():
        if kind != "full" and not is_copy(name, tensor, target):
            assembly.unmatched[name] = STRAY
            continue
        recipes: dict[str, Recipe] = {target.name(name, tensor.shape): Replaced(tensor)}
        assembly.add(Module(name, {}, config, target), Reading(recipes), _lost)
    scaling = _scale(config, folder) if modules else 1.0
    for module_path, tensors in modules.items():
        module = Module(module_path, tensors, config, target)
        assembly.add(module, _read(module, scaling), _lost)
    # "full" alone would say that what the file lacks was removed from the model
    return assembly.tuned(opened, config, kind="mlx-full" if kind == "full" else kind)


def _sorted(
    tensors: Mapping[str, LazyTensor], kind: str
) -> tuple[dict[str, dict[str, LazyTensor]], dict[str, LazyTensor]]:
    modules: dict[str, dict[str, LazyTensor]] = {}
    plain: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        path, _, part = name.rpartition(".")
        if part in _PARTS and kind != "full":
            modules.setdefault(path, {})[part] = tensor
        else:
            plain[name] = tensor
    return modules, plain


def _scale(config: Mapping[str, Any], folder: Place) -> float:
    parameters = config.get("lora_parameters", config)
    scale = parameters.get("scale") if isinstance(parameters, Mapping) else None
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not abs(scale) < _LARGEST:
        raise BadAdapter(
            f"{folder / CONFIG}: lora_parameters has no finite scale; MLX-LM multiplies by it, "
            'without dividing by the rank: "lora_parameters": {"rank": …, "scale": …}'
        )
    return float(scale)


def _read(module: Module, scaling: float) -> Reading:
    """Return the recipe of a module's weight."""
    weight = module.target.name(f"{module.path}.weight")
    A, B = module.tensors.get("lora_a"), module.tensors.get("lora_b")
    if A is None or B is None:
        here = next(iter(module.tensors))
        gone = "lora_a" if A is None else "lora_b"
        found = times(module.tensors[here])
        return _refused(module, weight, f"adapter has {here} ({found}) but no {gone}")
    origin = f"{scaling:g}: scale in {CONFIG}, final in MLX-LM"
    if expert_pairs.fits(A, B):
        return _experts(module, weight, A, B, scaling, origin)
    if len(A.shape) != 2 or len(B.shape) != 2 or A.shape[1] != B.shape[0] or not numel(A.shape):
        return _refused(
            module, weight, f"lora_a ({times(A)}) and lora_b ({times(B)}) do not multiply"
        )
    embedding = _is_embedding(module, A, B)
    shape = (A.shape[0], B.shape[1]) if embedding else (B.shape[1], A.shape[0])
    maker: Maker = Transposed(A, B, scaling, embedding)
    magnitude = module.tensors.get("m")
    if magnitude is None:
        return Reading({weight: Added(shape, maker)}, {weight: origin})
    if numel(magnitude.shape) != shape[0]:
        return _refused(module, weight, f"m ({times(magnitude)}) does not fit {shape[0]} rows")
    needs = f"{module.path}: DoRA rescales the sum of base and adapter"
    recipe = Rebuilt(shape, Dora(maker, magnitude), "dora", needs, rowwise=True)
    return Reading({weight: recipe}, {weight: origin})


def _experts(
    module: Module, weight: str, A: LazyTensor, B: LazyTensor, scaling: float, origin: str
) -> Reading:
    """Return the recipe of a stack of experts, or of each where the base stores them apart."""
    names = [weight]
    if module.target.find(f"{module.path}.weight") is None:
        path, _, leaf = module.path.replace(".switch_mlp.", ".experts.").rpartition(".")
        apart = [f"{path}.{e}.{leaf}.weight" for e in range(A.shape[0])]
        if all(module.target.find(name) is not None for name in apart):
            names = [module.target.name(name) for name in apart]
    return expert_pairs.reading(names, A, B, scaling, origin)


def _is_embedding(module: Module, A: LazyTensor, B: LazyTensor) -> bool:
    """Say whether the factors are an embedding's: vocabulary × r and r × width."""
    base = module.target.find(f"{module.path}.weight")
    sides = A.shape[0], B.shape[1]
    if base is not None and sides[0] != sides[1]:
        return base.shape == sides
    return "embed" in module.path.rpartition(".")[2] or module.path.endswith(".wte")


def _refused(module: Module, weight: str, reason: str) -> Reading:
    base = module.target.find(f"{module.path}.weight")
    shape = base.shape if base is not None else ()
    return Reading({weight: Unreadable(shape, f"{module.path}: {reason}")})


def _lost(name: str) -> str:
    return "no tensor of the base has this name"
