"""The fields of a configuration that PEFT reads of each type; it passes over the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftdiff.adapters.loading.parts import PREFIXES

_WITHOUT_LAYERS = frozenset(
    {
        *("BEFT", "GLORA", "IA3", "LN_TUNING", "OSF", "POLY", "ROAD", "SHIRA", "SUPERTUNING"),
        "TRAINABLE_TOKENS",
    }
)
#: By field, the types that have none of that name.
LACKING: Mapping[str, frozenset[str]] = {
    "modules_to_save": frozenset({"TRAINABLE_TOKENS"}),
    "layers_to_transform": _WITHOUT_LAYERS,
    "layers_pattern": _WITHOUT_LAYERS,
    "exclude_modules": frozenset(
        {
            *("ADAMSS", "BEFT", "C3A", "FROD", "GLORA", "GRALORA", "OSF", "PVERA", "RANDLORA"),
            *("ROAD", "SHIRA", "SUPERTUNING", "TINYLORA", "TRAINABLE_TOKENS", "UNILORA", "VERA"),
        }
    ),
    "rank_pattern": frozenset(PREFIXES)
    - {"ADALORA", "DELORA", "HIRA", "LOHA", "LOKR", "LORA", "OSF"},
    "target_parameters": frozenset(PREFIXES) - {"ADALORA", "LORA"},
    "trainable_token_indices": frozenset(PREFIXES) - {"ADALORA", "LORA"},
}
#: A map that a type has, and that does not reach its layers.
_IDLE = {"HIRA": "rank_pattern"}


def read(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without what PEFT passes over for this type."""
    return {
        name: value
        for name, value in config.items()
        if kind not in LACKING.get(name, ())
        and not (_IDLE.get(kind) == name and isinstance(value, dict))
    }
