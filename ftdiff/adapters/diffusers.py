"""Files with dotted module names: diffusers' old and new keys, ComfyUI's, ai-toolkit's."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftdiff.adapters import single_file as lonefile
from ftdiff.adapters.assembly import Assembly, group
from ftdiff.adapters.family import Target
from ftdiff.adapters.lycoris.suffixes import split
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import BadAdapter
from ftdiff.formats import Checkpoint, open_stored
from ftdiff.formats.note import Note
from ftdiff.naming.towers import same_tower
from ftdiff.tensors import LazyTensor

#: Where diffusers keeps the LoRA configuration of every component, as JSON.
METADATA = "lora_adapter_metadata"

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
    r"|lora\.(down|up)\.weight|(hada|lokr)_\w+|on_input|diff|diff_b|w_norm)$"
)
_PROCESSOR = re.compile(r"\.to_(q|k|v|out)_lora\.")
_CLIP = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}


def recognises(path: Path) -> bool:
    """Say whether the file's names are modules of a diffusion pipeline with parts of an adapter."""
    if METADATA in lonefile.metadata(path):
        return True
    found = [name for name in lonefile.names(path) if _split(name)]
    return any(_TELLING.search(name) for name in found)


def open_(path: Path, base: Checkpoint | None) -> Tuned:
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
    assembly = Assembly(base, unmatched=unmatched)
    assembly.read(modules, Dotted(base), _lost, lambda path: configs.get(_component(path), {}))
    if configs:
        text = f"scales are from the file's metadata ({METADATA})"
        assembly.note(Note("scales-in-metadata", text))
    return assembly.tuned(opened, {})


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


def _configs(metadata: Mapping[str, str], file: Path) -> Mapping[str, Mapping[str, Any]]:
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
