"""llama.cpp's adapters: GGUF files with factors, named and ordered as llama.cpp has its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np

from ftdiff.adapters import expert_pairs
from ftdiff.adapters.assembly import Assembly, group
from ftdiff.adapters.family import Module, Reading, Target
from ftdiff.adapters.gguf_names import Names
from ftdiff.adapters.peft.closed_forms import lora_factors
from ftdiff.adapters.rotary_rows import heads
from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.recipes import Added, Maker, Product, Recipe, Tuned, Unreadable
from ftdiff.deltas.recipes.added import matrix
from ftdiff.errors import BadAdapter, BadFile
from ftdiff.formats import Checkpoint, gguf
from ftdiff.formats.gguf_model import KEPT, REORDERED
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place
from ftdiff.tensors import DTYPES, Halved, LazyTensor

_PARTS = (".lora_a", ".lora_b")


@dataclass(frozen=True)
class TokenProduct:
    """ΔW of a token embedding: scaling · A Bᵀ, vocabulary × width."""

    A: LazyTensor
    B: LazyTensor
    scaling: float

    def make(self) -> LowRank:
        """Read both factors as float32."""
        return LowRank(matrix(self.A), np.ascontiguousarray(matrix(self.B).T), self.scaling)


def recognises(path: Place) -> bool:
    """Say whether the file is an adapter by its own word; models are checkpoints."""
    if not path.name.endswith(".gguf") or not path.is_file():
        return False
    try:
        return gguf.read_header(path).fields.get("general.type") == "adapter"
    except BadFile:  # whoever opens it as a checkpoint says what is wrong with it
        return False


def open_(path: Place, base: Checkpoint | None) -> Tuned:
    """Read the header, and find every module in the base through llama.cpp's own table of names.

    Raises
    ------
    BadFile, BadAdapter
        The header lies, or the file is not a LoRA adapter.
    MissingExtra
        There is a base, and the `gguf` package, which has the table, is not installed.
    """
    header = gguf.read_header(path)
    fields = header.fields
    if fields.get("adapter.type") != "lora":
        kind = fields.get("adapter.type")
        raise BadAdapter(f"{path}: a GGUF adapter of the type {kind!r}; only LoRA is read")
    arch, alpha = fields.get("general.architecture"), fields.get("adapter.lora.alpha")
    if not isinstance(arch, str) or not isinstance(alpha, int | float) or not isfinite(alpha):
        raise BadAdapter(f"{path}: no general.architecture or no adapter.lora.alpha in its header")
    opened = Checkpoint(header.tensors, str(path), "gguf", files=(header.record,))
    modules, unmatched = group(header.tensors, _split)
    ignored = {name: _ignored(name) for name in unmatched}
    assembly = Assembly(base, header.tensors, unmatched=ignored)
    names = Names(base, arch)
    target = Target(base)
    for module_path, tensors in modules.items():
        module = Module(module_path, tensors, {}, target)
        found = names.find(module_path)
        assembly.add(module, _read(module, found, arch, float(alpha)), names.why_lost)
    if fields.get("adapter.alora.invocation_tokens"):
        text = "the change applies only after the invocation tokens (aLoRA)"
        assembly.note(Note("conditional", text))
    config = {"lora_alpha": alpha, "general.architecture": arch}
    return assembly.tuned(opened, config, kind="lora")


def _split(name: str) -> tuple[str, str] | None:
    for part in _PARTS:
        if name.endswith(part):
            return name.removesuffix(part), part[1:]
    return None


def _ignored(name: str) -> str:
    if name.endswith("_norm.weight"):
        return "a norm in an adapter, which llama.cpp ignores"
    return "not a part of any adapter that is known"


def _read(module: Module, names: tuple[str, ...], arch: str, alpha: float) -> Reading:
    """Return the recipe of a weight, keyed by the base's names of it."""
    A, B = module.tensors.get("lora_a"), module.tensors.get("lora_b")
    if A is None or B is None:
        return _refused(module, names, lora_factors.half(module.path, A, B))
    packed = next((tensor for tensor in (A, B) if tensor.dtype not in DTYPES), None)
    if packed is not None:
        reason = f"{module.path}: stored as {packed.dtype}, packed in blocks; convert it to F16"
        return _refused(module, names, Unreadable((), reason))
    token = module.path == "token_embd.weight"
    rank = B.shape[-1] if B.shape else 0
    scaling = alpha / rank if alpha and rank else 1.0
    origin = f"α/r = {alpha:g}/{rank}, adapter.lora.alpha in the file"
    if not alpha:
        origin = "1: adapter.lora.alpha is 0, which llama.cpp reads as 1"
    if expert_pairs.fits(A, B):
        return expert_pairs.reading(names, A, B, scaling, origin)
    if len(A.shape) != 2 or len(B.shape) != 2 or A.shape[1 if token else 0] != rank or not rank:
        wrong = f"lora_a ({lora_factors.times(A)}) and lora_b ({lora_factors.times(B)})"
        return _refused(module, names, Unreadable((), f"{module.path}: {wrong} do not multiply"))
    shape = (A.shape[0], B.shape[0]) if token else (B.shape[0], A.shape[1])
    B, notes = _ordered(module, names, arch, B)
    maker: Maker = TokenProduct(A, B, scaling) if token else Product(A, B, scaling)
    return Reading({names[0]: Added(shape, maker)}, {names[0]: origin}, notes=notes)


def _ordered(
    module: Module, names: tuple[str, ...], arch: str, B: LazyTensor
) -> tuple[LazyTensor, tuple[str, ...]]:
    """Put the rows of q and k back as Hugging Face has them, or say that it could not be done."""
    leaf = {"attn_q": "q_proj", "attn_k": "k_proj"}.get(module.path.split(".")[-2], "")
    if not leaf or arch in KEPT or names[0] == module.path:
        return B, ()
    count = heads(module.target.config, leaf, B.shape[0]) if arch in REORDERED else None
    if count is None:
        note = (
            "rows of q and k may be in llama.cpp's order: their norms are right, what compares "
            "them with the base's rows (cosine, scale) may not be; config.json beside the base "
            f"tells the heads where {arch} is known"
        )
        return B, (Note("row-order-unknown", note),)
    note = "rows of q and k were put back from llama.cpp's order, by the heads in config.json"
    return Halved(B, count), (Note("row-order-restored", note),)


def _refused(module: Module, names: tuple[str, ...], recipe: Unreadable) -> Reading:
    base = module.target.find(names[0])
    shape = base.shape if base is not None else recipe.shape
    made: Mapping[str, Recipe] = {name: Unreadable(shape, recipe.reason) for name in names}
    return Reading(made)
