"""Files with dotted module names: diffusers' old and new keys, ComfyUI's, ai-toolkit's."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ftdiff.adapters import header
from ftdiff.adapters import single_file as lonefile
from ftdiff.adapters.assembly import Assembly, Modules, group
from ftdiff.adapters.family import ORIGIN, Target
from ftdiff.adapters.header import METADATA
from ftdiff.adapters.loading.keys import PREFIX
from ftdiff.adapters.lycoris import scale_notes
from ftdiff.adapters.lycoris.suffixes import split
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import BadAdapter
from ftdiff.formats import Checkpoint, open_stored
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place
from ftdiff.naming.towers import same_tower
from ftdiff.naming.translation import respelled
from ftdiff.tensors import LazyTensor

_COMPONENTS = (
    "unet",
    "transformer",
    "transformer_2",
    "text_encoder",
    "text_encoder_2",
    "text_encoder_3",
    "prior",
    "controlnet",
    "diffusion_model",
)
#: What the names of diffusion adapters have, and those of language models do not.
_TELLING = re.compile(
    r"^(unet|text_encoder(_[23])?|diffusion_model|transformer_2)\."
    r"|\.processor\.|_blocks\.\d|\.to_(q|k|v|out)(\.|_lora)"
    r"|\.(alpha|dora_scale|lora_(down|up|mid)\.weight|lora_linear_layer\.(down|up)\.weight"
    r"|lora\.(down|up)\.weight|(hada|lokr)_\w+|on_input|diff|diff_[bm]|[wb]_norm|set_weight)$"
)
_PROCESSOR = re.compile(r"\.to_(q|k|v|out)_lora\.")
_CLIP = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}


def recognises(path: Place) -> bool:
    """Say whether the file's names are modules of a diffusion pipeline with parts of an adapter."""
    if METADATA in lonefile.metadata(path):
        return True
    paths = {name: found[0] for name in lonefile.names(path) if (found := _split(name))}
    if any(_TELLING.search(name) for name in paths):
        return True
    return any(any(respelled(f"{module}.weight")) for module in paths.values())


def open_(path: Place, base: Checkpoint | None) -> Tuned:
    """Read the header, the alphas or the metadata, and find every module in the base.

    Raises
    ------
    BadFile, BadAdapter
        The header lies, or the metadata is no configuration.
    """
    file = lonefile.find(path)
    assert file is not None
    opened = open_stored(file)
    configs = _configs(opened.metadata, file)
    modules, unmatched = group(opened.tensors, _split)
    assembly = Assembly(base, opened.tensors, unmatched=unmatched)
    if configs:
        assembly.read(modules, Dotted(base), _lost, lambda path: configs.get(_component(path), {}))
        text = f"scales are from {header.HEADER} ({METADATA})"
        assembly.note(Note("scales-in-metadata", text), *_other_ranks(modules, configs))
        for one in configs.values():
            assembly.note(*header.contradicted(opened.metadata, one, METADATA))
        return assembly.tuned(opened, {})
    config, told, notes = _scaled(file, opened, modules)
    assembly.read(modules, Dotted(base), _lost, config)
    assembly.note(*notes, *scale_notes.notes(modules, told))
    return assembly.tuned(opened, {})


def _scaled(
    file: Place, opened: Checkpoint, modules: Modules
) -> tuple[Callable[[str], Mapping[str, Any]], header.Told | None, tuple[Note, ...]]:
    """Return the configuration of modules that have no α of their own, as for names of PEFT's.

    The one beside the file, or the α in the header; what the header says; and notes.
    """
    told = {word: header.alpha_of(opened.metadata, word) for word in {*map(_component, modules)}}
    bare = [path for path, parts in modules.items() if "alpha" not in parts]
    alone = {path: modules[path] for path in bare}
    first = next(filter(None, told.values()), None)
    words = any(".lora_A" in name for name in opened.tensors)
    config = header.beside(file) if words and bare else {}
    if config.get("peft_type") == "LORA" and "lora_alpha" in config:
        notes = header.contradicted(opened.metadata, config)
        return lambda path: config if path in alone else {}, first, notes
    if not bare or first is None:
        scripts = header.of_scripts(opened.metadata)
        why = "no module has an alpha of its own, and no loader of these names reads that key"
        said = (header.unused(scripts, why),) if scripts and len(bare) == len(modules) else ()
        return lambda path: {}, first or scripts, said
    found = {path: one.config for path in bare if (one := told[_component(path)])}
    used = header.used(first, scale_notes.ranks(alone))
    return lambda path: found.get(path, {}), first, used


def _other_ranks(modules: Modules, configs: Mapping[str, Mapping[str, Any]]) -> Iterator[Note]:
    """Say where a configuration names a rank that no factor of its component has."""
    for word, config in configs.items():
        mine = {path: parts for path, parts in modules.items() if _component(path) == word}
        rank, patterns = config.get("r"), config.get("rank_pattern")
        if isinstance(rank, int | float) and not isinstance(rank, bool) and not patterns:
            told = header.Told(0.0, "r", rank=float(rank))
            yield from header.rank_note(told, scale_notes.ranks(mine))


class Dotted(Target):
    """A base that is asked with a component's name in front, and without it."""

    def find(self, name: str) -> LazyTensor | None:
        """Return the base tensor of that name, whatever its component is called."""
        return super().find(self.name(name))

    def name(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        """Return the base's spelling of a name; the name itself where the base has none."""
        component = _component(name)
        bare = name.removeprefix(f"{component}.") if component else name
        for spelling in (name, bare):
            found = super().name(spelling, shape)
            if super().find(found) is not None and same_tower(name, found):
                return found
        return name


def _split(name: str) -> tuple[str, str] | None:
    """Return path and part, with the names of old attention processors brought up to date."""
    name = name.removeprefix(PREFIX)
    found = _PROCESSOR.search(name)
    if found is not None:
        clip = name.startswith("text_encoder")
        leaf = {"out": "to_out.0"}.get(found[1], f"to_{found[1]}")
        if clip:
            leaf = _CLIP[found[1]]
        name = f"{name[: found.start()]}.{leaf}.lora.{name[found.end() :]}"
    name = name.replace(".processor.", ".").replace(".lora.alpha", ".alpha")
    name = name.replace(".lora_linear_layer.alpha", ".alpha")
    return split(name)


def _component(path: str) -> str:
    """Return the component of a pipeline that a path begins with; "" for none."""
    word = path.partition(".")[0]
    return word if word in _COMPONENTS else ""


def _configs(metadata: Mapping[str, str], file: Place) -> Mapping[str, Mapping[str, Any]]:
    """Return the configurations in the metadata, by component."""
    configs: dict[str, dict[str, Any]] = defaultdict(dict)
    if METADATA not in metadata:
        return configs
    try:
        told = json.loads(metadata[METADATA])
    except (ValueError, RecursionError) as error:
        raise BadAdapter(f"{file}: {METADATA} is not valid JSON ({error})") from error
    if not isinstance(told, dict):
        raise BadAdapter(f"{file}: {METADATA} is not a JSON object")
    for key, value in told.items():
        component, _, field = key.partition(".")
        if component in _COMPONENTS and field:
            configs[component][field] = value
        else:
            configs[""][key] = value
    for config in configs.values():
        config[ORIGIN] = header.HEADER
    for component, config in configs.items():
        init = config.get("init_lora_weights")
        if isinstance(init, str) and init not in ("gaussian", "eva", "orthogonal"):
            raise BadAdapter(
                f"{file}: {METADATA}: {component}: init_lora_weights is {init!r}: the factors are "
                "not the change, since the base was replaced by a residual"
            )
    return configs


def _lost(name: str) -> str:
    component = _component(name)
    told = f" (the base may be another component than {component})" if component else ""
    return f"no tensor of the base has this name{told}"
