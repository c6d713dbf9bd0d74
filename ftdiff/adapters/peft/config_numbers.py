"""The number that a configuration gives to one module, and where in it the number stands."""

from __future__ import annotations

from collections.abc import Mapping

from ftdiff.adapters.family import ORIGIN, Module
from ftdiff.adapters.peft.patterns import first_match
from ftdiff.errors import BadAdapter, one_line

#: Numbers beyond float32, in which factors are multiplied.
_LARGEST = 3.4e38
#: What PEFT takes where a configuration lacks a number, by type and field.
_DEFAULTS: Mapping[tuple[str, str], float] = {
    ("ADALORA", "init_r"): 12,
    ("ADALORA", "lora_alpha"): 8,
    ("GRALORA", "alpha"): 64,
    ("LOHA", "alpha"): 8,
    ("LOKR", "alpha"): 8,
    ("LOKR", "r"): 8,
    ("LORA", "lora_alpha"): 8,
}


def number(module: Module, name: str, pattern: str) -> tuple[float, str]:
    """Return a number of the configuration, overridden for modules that a pattern names.

    Parameters
    ----------
    module
        The module, by whose path patterns are matched.
    name, pattern
        The fields: "lora_alpha" and "alpha_pattern", ….

    Returns
    -------
    value, origin
        The number, and "alpha_pattern 'q_proj'" where a pattern gave it, or "".

    Raises
    ------
    BadAdapter
        There is no such number, or the pattern is none.

    Notes
    -----
    Patterns match the end of a module's path, and the first hit counts, as in PEFT. A number that
    is not there is PEFT's default, which `by_default` says; one that is null is none.
    """
    patterns = module.config.get(pattern) or {}
    if not isinstance(patterns, dict):
        wrong = f"adapter_config.json: {pattern} is {type(patterns).__name__}, not a map"
        raise BadAdapter(module.told(wrong))
    key = first_match(patterns, module.path, pattern)
    value = patterns[key] if key is not None else module.config.get(name, _default(module, name))
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        field = name if key is None else f"{pattern} {key!r}"
        found = one_line(repr(value), 80)
        wrong = f"adapter_config.json: {field} is {found}, not a finite number"
        raise BadAdapter(module.told(wrong))
    return value, f"{pattern} {key!r}" if key is not None else ""


def by_default(module: Module, *names: str) -> str:
    """Return which of these fields have PEFT's default, as the end of an origin; "" for none."""
    lacking = [name for name in names if _default(module, name) is not None]
    lacking = [name for name in lacking if name not in module.config]
    if not lacking:
        return ""
    return f", with PEFT's default for {' and '.join(lacking)} (it names none)"


def _default(module: Module, name: str) -> float | None:
    if ORIGIN in module.config:  # a header, of which PEFT makes no configuration
        return None
    return _DEFAULTS.get((str(module.config.get("peft_type")), name))


def over_rank(
    module: Module, name: str, rank: float, told: str = "", pattern: str = "alpha_pattern"
) -> tuple[float, str]:
    """Return α/r, and where both numbers came from, in words.

    Parameters
    ----------
    module
        The module.
    name, pattern
        The fields that hold α.
    rank
        The factors' own, since a configuration may name another.
    told
        Where the rank stands in the configuration, if the factors do not show it.

    Raises
    ------
    BadAdapter
        There is no α, or no rank to divide by.
    """
    alpha, where = number(module, name, pattern)
    if not rank > 0:
        raise BadAdapter(f"{module.path}: the rank is {rank:g}: nothing to divide α by")
    fields = " and ".join(field for field in (where, told) if field)
    source = f"{fields} in adapter_config.json" if fields else "adapter_config.json"
    default = by_default(module, *([] if where else [name]), *([told] if told == "r" else []))
    return alpha / rank, f"α/r = {alpha:g}/{rank:g}, {source}{default}"
