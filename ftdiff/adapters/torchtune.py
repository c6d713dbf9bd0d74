"""torchtune's own adapter files: its names, and its order of the rows of q and k."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ftdiff.adapters import single_file as lonefile
from ftdiff.adapters.assembly import Assembly, group
from ftdiff.adapters.bare import configured
from ftdiff.adapters.family import Module, Reading, Target
from ftdiff.adapters.peft.closed_forms import lora_factors
from ftdiff.adapters.peft.closed_forms.dora import Dora
from ftdiff.adapters.rotary_rows import heads
from ftdiff.deltas.recipes import Added, Product, Rebuilt, Tuned, Unreadable
from ftdiff.formats import Checkpoint, open_stored
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place
from ftdiff.tensors import Halved, LazyTensor, numel

_KEY = re.compile(r"(?P<path>.+)\.(?P<part>lora_a|lora_b|magnitude)(?P<param>\.weight)?")
#: torchtune's modules and Hugging Face's.
_RENAMED = {
    "attn.q_proj": "self_attn.q_proj",
    "attn.k_proj": "self_attn.k_proj",
    "attn.v_proj": "self_attn.v_proj",
    "attn.output_proj": "self_attn.o_proj",
    "mlp.w1": "mlp.gate_proj",
    "mlp.w2": "mlp.down_proj",
    "mlp.w3": "mlp.up_proj",
    "output": "lm_head",
    "tok_embeddings": "model.embed_tokens",
}
#: Model types by whether torchtune reorders the rows of q and k when it converts them.
_REORDERED = ("llama", "mistral")
_KEPT = ("qwen2", "qwen3", "phi3")


def recognises(path: Place) -> bool:
    """Say whether the file holds factors as torchtune names them."""
    keys = (_KEY.fullmatch(name) for name in lonefile.names(path))
    return any(key is not None and key["param"] for key in keys)


def open_(path: Place, base: Checkpoint | None) -> Tuned:
    """Read factors whose scale is in the file's header, or in a configuration beside it.

    Raises
    ------
    BadFile, BadAdapter
        The header lies, or nothing says what α is.
    """
    file = lonefile.find(path)
    assert file is not None
    opened = open_stored(file)
    config, notes = configured(file, opened)
    modules, unmatched = group(opened.tensors, split)
    assembly = Assembly(base, opened.tensors, unmatched=unmatched)
    target = Target(base)
    for module_path, tensors in modules.items():
        module = Module(_spelt(module_path, target), tensors, config, target)
        assembly.add(module, _read(module, module.path != module_path), _lost)
    kind = "dora" if any("magnitude" in parts for parts in modules.values()) else "lora"
    return assembly.tuned(opened, config, notes, kind=kind)


def split(name: str) -> tuple[str, str] | None:
    """Return the module path and the part of a key; None for another."""
    found = _KEY.fullmatch(name)
    return (found["path"], found["part"]) if found else None


def _spelt(path: str, target: Target) -> str:
    """Return the path as the base has it: torchtune's, or Hugging Face's."""
    if target.find(f"{path}.weight") is not None:
        return path
    for ours, theirs in _RENAMED.items():
        if path == ours or path.endswith(f".{ours}"):
            renamed = path.removesuffix(ours) + theirs
            if target.find(f"{renamed}.weight") is not None:
                return renamed
    return path


def _read(module: Module, renamed: bool) -> Reading:
    """Return the recipe of a module's weight, q and k in the base's order of rows."""
    weight = module.target.name(f"{module.path}.weight")
    A, B = module.tensors.get("lora_a"), module.tensors.get("lora_b")
    if A is None or B is None:
        return Reading({weight: lora_factors.half(module.path, A, B)})
    wrong = lora_factors.mismatch(module.path, A, B)
    if wrong is not None:
        return Reading({weight: wrong})
    scaling, origin = lora_factors.scale(module, A.shape[0])
    magnitude = module.tensors.get("magnitude")
    notes: tuple[str, ...] = ()
    leaf = module.path.rpartition(".")[2]
    if renamed and leaf in ("q_proj", "k_proj"):
        B, magnitude, notes = _reordered(module.target.config, leaf, B, magnitude)
    shape = (B.shape[0], A.shape[1])
    made = Product(A, B, scaling)
    if magnitude is None:
        return Reading({weight: Added(shape, made)}, {weight: origin}, notes=notes)
    if numel(magnitude.shape) != shape[0]:
        found = lora_factors.times(magnitude)
        reason = f"{module.path}: magnitude ({found}) does not fit {shape[0]} outputs"
        return Reading({weight: Unreadable(shape, reason)})
    needs = f"{module.path}: DoRA rescales the sum of base and adapter"
    recipe = Rebuilt(shape, Dora(made, magnitude), "dora", needs)
    return Reading({weight: recipe}, {weight: origin}, notes=notes)


def _reordered(
    config: Mapping[str, Any], leaf: str, B: LazyTensor, magnitude: LazyTensor | None
) -> tuple[LazyTensor, LazyTensor | None, tuple[str, ...]]:
    """Put the rows of q and k back as Hugging Face has them, or say that it could not be done."""
    family = config.get("model_type")
    if family in _KEPT:
        return B, magnitude, ()
    count = heads(config, leaf, B.shape[0]) if family in _REORDERED else None
    if count is None:
        note = (
            "rows of q and k are in torchtune's order: their norms are right, what compares them "
            "with the base's rows (cosine, scale) is not; a base in torchtune's names, or with a "
            "config.json that tells the heads, would settle it"
        )
        return B, magnitude, (Note("row-order-unknown", note),)
    note = "rows of q and k were put back from torchtune's order, by the heads in config.json"
    turned = Halved(magnitude, count) if magnitude is not None else None
    return Halved(B, count), turned, (Note("row-order-restored", note),)


def _lost(name: str) -> str:
    return "no tensor of the base has this name, nor what Hugging Face calls it"
