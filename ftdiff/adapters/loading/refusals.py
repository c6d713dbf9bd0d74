"""Why PEFT refuses an adapter before it looks for a key: its configuration against the base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftdiff.adapters.loading.modules import Modules
from ftdiff.adapters.loading.parts import ADAPTABLE
from ftdiff.adapters.loading.targets import Targets, texts

#: Types that refuse layers beside a pattern of targets, and a pattern of layers without layers.
_LIST_FOR_LAYERS = frozenset(
    {
        *("ADALORA", "C3A", "DEFT", "DELORA", "FOURIERFT", "HIRA", "HRA", "LORA", "MISS", "PSOFT"),
        *("UNILORA", "WAVEFT"),
    }
)
_LAYERS_FOR_PATTERN = frozenset(
    {
        *("ADALORA", "BOFT", "DEFT", "DELORA", "FOURIERFT", "FROD", "HRA", "LILY", "LOHA", "LOKR"),
        *("LORA", "OFT", "PEANUT", "PSOFT", "PVERA", "TINYLORA", "VBLORA", "VERA", "WAVEFT"),
    }
)


#: How the refusal of a base begins that has none of what is targeted.
NO_TARGETS = "the base has none of the target modules"


def refusal(kind: str, config: Mapping[str, Any], modules: Modules, wanted: Targets) -> str:
    """Return why PEFT refuses; "" where it does not."""
    return (
        _contradiction(kind, config)
        or _without_targets(config, wanted)
        or _unsuited(kind, modules, wanted)
        or _without_bias(config, modules, wanted)
    )


def _contradiction(kind: str, config: Mapping[str, Any]) -> str:
    """Say which fields of a configuration exclude each other."""
    layers, pattern = config.get("layers_to_transform"), config.get("layers_pattern")
    if kind in _LIST_FOR_LAYERS and isinstance(config.get("target_modules"), str):
        for name, told in (("layers_to_transform", layers), ("layers_pattern", pattern)):
            if told is not None:
                return f"{name} is set, and target_modules is a pattern"
    if kind in _LAYERS_FOR_PATTERN and pattern and layers is None:
        return "layers_pattern is set, and layers_to_transform is not"
    if kind == "LORA" and config.get("lora_bias") and config.get("use_dora"):
        return "lora_bias and use_dora are both set"
    if kind == "ADALORA" and config.get("use_dora"):
        return "use_dora is set"
    r = config.get("r")
    if kind == "OFT" and r and config.get("oft_block_size", 32):
        return f"r is {r} and oft_block_size {config.get('oft_block_size', 32)}: one has to be 0"
    return ""


def _without_targets(config: Mapping[str, Any], wanted: Targets) -> str:
    if wanted.adapted or wanted.parameters or not wanted.known:
        return ""
    told = config.get("target_modules")
    shown = told if isinstance(told, str) else ", ".join(texts(told)[:4])
    return f"{NO_TARGETS} ({shown or 'none named'})"


def _unsuited(kind: str, modules: Modules, wanted: Targets) -> str:
    """Say which target no adapter of the type can be put on."""
    suited = ADAPTABLE.get(kind, frozenset({"linear", "convolution", "embedding"}))
    for path in wanted.adapted:
        what = modules.kind(path) if path in modules.leaves else "container"
        if what not in suited:
            return f"{path} is a target, and a {what}, which {kind} cannot adapt"
    return ""


def _without_bias(config: Mapping[str, Any], modules: Modules, wanted: Targets) -> str:
    """Say which embedding should get a factor with a bias."""
    if config.get("lora_bias") and config.get("peft_type") == "LORA":
        for path in wanted.adapted:
            if modules.kind(path) == "embedding":
                return f"lora_bias is set, and {path} is an embedding"
    return ""
