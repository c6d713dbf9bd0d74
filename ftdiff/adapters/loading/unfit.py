"""Values of which PEFT makes nothing: it fails over them before it looks for a key."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ftdiff.adapters.peft.ranks import configured, is_rank, written

#: Types that compare `r` (ADALORA: `init_r`) with 0 and make matrices of that side.
_RANKED = frozenset(
    {
        *("ADALORA", "DELORA", "GRALORA", "HIRA", "HRA", "LOHA", "LOKR", "LORA", "VBLORA", "VERA"),
    }
)
#: By type, the maps of patterns that PEFT goes through; but for ADALORA's and OSF's, null is none.
_MAPS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("LORA", "LOHA", "LOKR"), ("rank_pattern", "alpha_pattern")),
    **dict.fromkeys(("ADALORA", "DELORA", "HIRA", "OSF"), ("rank_pattern",)),
}
#: Types that look at the common rank, whichever patterns there are.
_COMMON = frozenset({"ADALORA", "DELORA"})
#: Lists of names, or a text, that PEFT goes through where they are set; what else it takes.
_LISTS: Mapping[str, tuple[type, ...]] = {
    "modules_to_save": (list, str, dict),
    "exclude_modules": (list, str, dict),
    "layers_pattern": (list, str),
    "target_parameters": (list,),
    "trainable_token_indices": (list, dict),
}


def of_fields(kind: str, config: Mapping[str, Any]) -> str:
    """Return which field of an adapter of this type PEFT cannot take; "" where it takes all."""
    for name, kinds in _LISTS.items():
        value = config.get(name)
        if value and not isinstance(value, kinds):
            return f"{name} is {written(value)}, not a list of names"
    for name in _MAPS.get(kind, ()):
        value = config.get(name, {})
        unset = not value if kind == "OSF" else kind == "ADALORA" and value is None
        if not isinstance(value, dict) and not unset:
            return f"{name} is {written(config[name])}, not a map"
    return _of_saved(config.get("modules_to_save"))


def _of_saved(names: Any) -> str:
    """Say what is no name of a module to save: PEFT goes through a text letter by letter."""
    told = f"modules_to_save is {written(names)}"
    if isinstance(names, list) and not all(isinstance(one, str) for one in names):
        return f"{told}, not a list of names"
    for letter in names if isinstance(names, str) else ():
        try:
            re.compile(rf"(^|.*\.){letter}($|\..*)")
        except re.error as error:
            why = f"{written(letter)} is no pattern ({error.msg})"
            return f"{told}, a text, which it takes letter by letter, and {why}"
    return ""


def of_numbers(kind: str, config: Mapping[str, Any], paths: Iterable[str]) -> str:
    """Return which module's rank or α PEFT cannot take; "" where it takes all.

    Parameters
    ----------
    kind, config
        The adapter's type and configuration.
    paths
        The modules that get an adapter; a pattern that matches one comes before the common field.

    Raises
    ------
    BadAdapter
        A pattern is none, or could be matched for hours.
    """
    if kind not in _RANKED:
        return ""
    rank = "init_r" if kind == "ADALORA" else "r"
    if kind in _COMMON and rank in config and not is_rank(config[rank]):
        return f"{rank} is {written(config[rank])}, not a positive integer"
    for path in paths if kind != "ADALORA" else ():  # its patterns say which ranks are left
        found = configured(config, path, rank)
        if found is not None and not is_rank(found[0]):
            return f"{found[1]} is {written(found[0])}, not a positive integer"
        found = configured(config, path, "lora_alpha", "alpha_pattern") if kind == "LORA" else None
        if found is not None and not _is_number(found[0]):
            return f"{found[1]} is {written(found[0])}, not a number"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
