"""XLabs' adapters of Flux: factors on the processors of its attentions, without a scale.

Of a double block `qkv_lora1` and `proj_lora1` are the image's attention, `…2` the text's; of a
single block `proj_lora` is `linear2`, and `qkv_lora` the rows of `linear1` that make q, k and v,
which diffusers stores apart.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ftdiff.adapters import single_file
from ftdiff.adapters.assembly import Assembly, group
from ftdiff.adapters.diffusers import Dotted
from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.lycoris import module as lycoris
from ftdiff.deltas.recipes import Recipe, Tuned, Unreadable
from ftdiff.formats import Checkpoint, open_stored
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place
from ftdiff.tensors.arranged import Rows

_KEY = re.compile(
    r"(?P<block>(?:.+\.)?(?:double|single)_blocks\.\d+)\.processor\."
    r"(?P<leaf>qkv_lora[12]?|proj_lora[12]?)\.(?P<part>down|up)\.weight"
)
_LEAVES = {
    "qkv_lora1": "img_attn.qkv",
    "proj_lora1": "img_attn.proj",
    "qkv_lora2": "txt_attn.qkv",
    "proj_lora2": "txt_attn.proj",
    "proj_lora": "linear2",
    "qkv_lora": "linear1",
}
_FUSED = "linear1"
#: What diffusers calls its first rows.
_FIRST = ("to_q", "to_k", "to_v")


def recognises(path: Place) -> bool:
    """Say whether the file's names are processors of Flux's blocks."""
    return any(_KEY.fullmatch(name) for name in single_file.names(path))


def open_(path: Place, base: Checkpoint | None) -> Tuned:
    """Read the factors onto Flux's own modules, scaled by 1 as their loaders do.

    Raises
    ------
    BadFile
        The header lies.
    """
    file = single_file.find(path)
    assert file is not None
    opened = open_stored(file)
    modules, unmatched = group(opened.tensors, split)
    assembly = Assembly(base, opened.tensors, unmatched=unmatched)
    target = Dotted(base)
    for place, tensors in modules.items():
        module = Module(place, tensors, {}, target)
        assembly.add(module, _read(module), _lost)
    text = "XLabs' processors, named as Flux's own modules; no file of theirs has a scale: × 1"
    assembly.note(Note("names-of-xlabs", text), *target.notes)
    return assembly.tuned(opened, {}, kind="lora")


def split(name: str) -> tuple[str, str] | None:
    """Return the module of Flux and the part; None for another key.

    >>> split("double_blocks.3.processor.qkv_lora2.up.weight")
    ('double_blocks.3.txt_attn.qkv', 'up')
    """
    found = _KEY.fullmatch(name)
    return found and (f"{found['block']}.{_LEAVES[found['leaf']]}", found["part"])


def _read(module: Module) -> Reading:
    if not module.path.endswith(f".{_FUSED}"):
        return lycoris.read(module)
    up = module.tensors.get("up")
    rows, rest = divmod(up.shape[0], len(_FIRST)) if up is not None and up.shape else (0, 1)
    if rest or len(module.tensors) < 2:
        weight = module.target.name(f"{module.path}.weight")
        reason = f"{module.path}: no pair of factors for q, k and v"
        return Reading({weight: Unreadable(up.shape if up is not None else (), reason)})
    recipes: dict[str, Recipe] = {}
    scalings: dict[str, str] = {}
    for index, leaf in enumerate(_FIRST):
        halves = {**module.tensors, "up": Rows(module.tensors["up"], index * rows, rows)}
        block = module.path.removesuffix(_FUSED).replace("single_", "single_transformer_")
        one = lycoris.read(replace(module, path=f"{block}attn.{leaf}", tensors=halves))
        recipes.update(one.recipes)
        scalings.update(one.scalings)
    return Reading(recipes, scalings)


def _lost(name: str) -> str:
    return "no tensor of the base has this name"
