"""A checkpoint in which LoRA factors ride beside the weights that they are to be added to.

Saving the whole state of a PEFT model writes `base_layer.weight` beside `lora_A` and `lora_B`:
neither the base nor the fine-tune, until the product is added.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ftdiff.adapters.account import by_key, with_parts
from ftdiff.adapters.family import Module, Target
from ftdiff.adapters.peft import folder as peft
from ftdiff.adapters.peft.closed_forms import lora
from ftdiff.deltas.recipes import Recipe, Replaced, Tuned
from ftdiff.errors import BadAdapter
from ftdiff.formats import Checkpoint
from ftdiff.formats.checkpoint import read_json
from ftdiff.formats.note import Note
from ftdiff.formats.place import again
from ftdiff.tensors import LazyTensor

#: The code of a note on such a file; its data are the `modules`, and whether their scale is known.
UNMERGED = "unmerged"
_FACTOR = re.compile(
    r"(?P<path>.+?)\.(?P<part>lora_(?:A|B|embedding_A|embedding_B|magnitude_vector"
    r"|(?:a|b|down|up)(?=\.weight$)))"
    r"(?:\.(?P<name>(?!weight$|bias$)[^.]+))?(?P<param>\.weight|\.bias)?"
)
#: What other tools call the factors.
_SPELT = {"lora_a": "lora_A", "lora_b": "lora_B", "lora_down": "lora_A", "lora_up": "lora_B"}
_OWN = ("base_layer.weight", "weight")
#: PEFT's own name for an adapter that was given none.
_DEFAULT = "default"


def holds(names: Iterable[str]) -> bool:
    """Say whether most factors' own weights, and other weights of the model, are in the file.

    >>> holds(["q.base_layer.weight", "q.lora_A.default.weight", "norm.weight"])
    True
    >>> holds(["q.lora_A.weight", "q.lora_B.weight", "lm_head.weight"])
    False
    """
    known = frozenset(names)
    paths = {found["path"] for found in map(_FACTOR.fullmatch, known) if found}
    own = {f"{path}.{end}" for path in paths for end in _OWN} & known
    rest = known - own
    others = any(not _FACTOR.fullmatch(name) and name.endswith("weight") for name in rest)
    return bool(paths) and 2 * len(own) > len(paths) and others


@dataclass
class _Sorted:
    """A file's tensors, by what they belong to."""

    modules: dict[str, dict[str, LazyTensor]] = field(default_factory=dict)
    plain: dict[str, LazyTensor] = field(default_factory=dict)
    unmatched: dict[str, str] = field(default_factory=dict)
    adapters: Counter[str] = field(default_factory=Counter)


def read(opened: Checkpoint, base: Checkpoint | None) -> Tuned:
    """Read every factor onto its own weight in the file, and the rest as a checkpoint's.

    The scale is that of an `adapter_config.json` beside the file. Where there is none nothing tells
    it, and the products are taken as they are stored.

    Raises
    ------
    BadFile, BadAdapter
        The configuration beside the file is no JSON, or no LoRA's.
    """
    config = _configuration(opened)
    target = Target(base)
    found = _sorted(opened.tensors)
    recipes: dict[str, Recipe] = {
        target.name(name, tensor.shape): Replaced(tensor) for name, tensor in found.plain.items()
    }
    scalings: dict[str, str] = {}
    unmatched = dict(found.unmatched)
    keys = by_key(opened.tensors)
    spent: dict[str, tuple[str, ...]] = {}
    notes: dict[str, None] = {}
    for path, tensors in found.modules.items():
        told = config or _as_stored(tensors)
        made = with_parts(lora.read(Module(path, tensors, told, target)), tensors)
        recipes.update(made.recipes)
        unknown = "1, as it is stored: no file says α"
        scalings.update(made.scalings if config else dict.fromkeys(made.scalings, unknown))
        unmatched.update({keys[id(tensors[part])]: why for part, why in made.unmatched.items()})
        spent.update({keys[id(tensors[part])]: names for part, names in made.spent.items()})
        notes.update(dict.fromkeys(_unspecific(made.notes)))
    return Tuned(
        recipes=recipes,
        source=opened.source,
        kind="full",
        config=opened.config,
        scalings=scalings,
        unmatched=unmatched,
        files=opened.files,
        given=opened.tensors,
        spent=spent,
        notes=(*opened.notes, note(found.modules, bool(config)), *_several(found.adapters), *notes),
    )


def note(modules: Iterable[str], known: bool) -> Note:
    """Say that LoRA modules ride in a file, and what their numbers are."""
    paths = list(modules)
    what = f"{len(paths)} LoRA modules ride in the file beside their own weights, not merged"
    scale = "scaled by the adapter_config.json beside it" if known else "× 1: no file says α"
    text = f"{what} ({paths[0]}, …): the change is that of W + B·A, {scale}"
    return Note(UNMERGED, text, modules=len(paths), scale_known=known, what="LoRA")


def others(names: Iterable[str]) -> tuple[Note, ...]:
    """Say that parts of an adapter of another type ride in a file, which are not read."""
    paths = [name.partition(".base_layer.")[0] for name in names if ".base_layer." in name]
    paths = list(dict.fromkeys(paths))
    if not paths:
        return ()
    text = (
        f"{len(paths)} modules of the file are wrapped ({paths[0]}.base_layer, …): a PEFT model's "
        "whole state, whose adapter is not merged, and not read"
    )
    what = "adapter"
    return (Note(UNMERGED, text, modules=len(paths), scale_known=False, what=what),)


def saved_modules(names: Iterable[str]) -> tuple[dict[str, str], frozenset[str]]:
    """Return the plain names of modules that PEFT trained whole, and the keys from before it.

    Of several that would have one name, and beside a tensor of that name, none is taken for it.

    >>> saved_modules(["h.modules_to_save.default.weight", "h.original_module.weight"])
    ({'h.modules_to_save.default.weight': 'h.weight'}, frozenset({'h.original_module.weight'}))
    """
    known = dict.fromkeys(names)
    plain = {key: peft.plain_name(key) for key in known if ".modules_to_save." in key}
    counts = Counter(plain.values())
    trained = {key: n for key, n in plain.items() if counts[n] == 1 and n not in known}
    once = frozenset(trained.values())
    before = (key for key in known if ".original_module." in key)
    return trained, frozenset(key for key in before if peft.plain_name(key) in once)


def modules(names: Iterable[str]) -> tuple[str, ...]:
    """Return the modules whose factors are among names."""
    found = (match["path"] for match in map(_FACTOR.fullmatch, names) if match)
    return tuple(dict.fromkeys(found))


def _sorted(tensors: Mapping[str, LazyTensor]) -> _Sorted:
    """Sort tensors into modules, by the adapter that most of the factors are of."""
    found = _Sorted()
    factors = {key: match for key in tensors if (match := _FACTOR.fullmatch(key))}
    found.adapters = Counter(match["name"] or "" for match in factors.values())
    chosen = _DEFAULT if _DEFAULT in found.adapters else found.adapters.most_common(1)[0][0]
    paths = {match["path"] for match in factors.values()}
    for key, tensor in tensors.items():
        match = factors.get(key)
        if match is not None:
            name = match["name"] or ""
            if name == chosen:
                part = _SPELT.get(match["part"], match["part"]) + (match["param"] or "")
                part = "lora_magnitude_vector" if "magnitude" in part else part
                part = f"{part}.weight" if part in ("lora_A", "lora_B") else part
                found.modules.setdefault(_plain(match["path"]), {})[part] = tensor
            else:
                of = f"a factor of the adapter {name!r}, beside those of {chosen!r}"
                found.unmatched[key] = f"{of}: the file holds several, and one is read"
            continue
        path, _, param = key.rpartition(".")
        owner = path.removesuffix(".base_layer")
        if owner in paths and param == "weight":
            found.modules.setdefault(_plain(owner), {})["base_layer.weight"] = tensor
        elif ".original_module." in key and _saved(key, tensors):
            found.unmatched[key] = "the module as it was before training; the trained one is read"
        else:
            found.plain[peft.plain_name(_plain(key))] = tensor
    return found


def _saved(key: str, tensors: Mapping[str, LazyTensor]) -> bool:
    path, _, end = key.partition(".original_module.")
    return any(n.startswith(f"{path}.modules_to_save.") and n.endswith(end) for n in tensors)


def _plain(path: str) -> str:
    return path.removeprefix("base_model.model.")


def _several(adapters: Counter[str]) -> tuple[Note, ...]:
    if len(adapters) < 2:
        return ()
    names = sorted(adapters)
    text = f"several adapters in one file: {', '.join(map(repr, names))}"
    return (Note("several-adapters", text, adapters=names),)


def _configuration(opened: Checkpoint) -> dict[str, Any]:
    place = again(opened.source) if opened.files else None
    file = None if place is None else place.home / peft.CONFIG
    if file is None or not file.is_file():
        return {}
    config = read_json(file)
    if config.get("peft_type") != "LORA":
        raise BadAdapter(f"{file}: not a LoRA's, and {opened.source} holds LoRA factors")
    lora.check(config)
    return config


def _as_stored(tensors: Mapping[str, LazyTensor]) -> dict[str, Any]:
    A = tensors.get("lora_A.weight", tensors.get("lora_embedding_A"))
    rank = A.shape[0] if A is not None and A.shape else 1
    dora = "lora_magnitude_vector" in tensors
    return {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "use_dora": dora}


def _unspecific(notes: Iterable[str]) -> list[str]:
    """Return the notes that do not say of every module what is said of all."""
    return [one for one in notes if getattr(one, "code", "") != "copy-not-compared"]
