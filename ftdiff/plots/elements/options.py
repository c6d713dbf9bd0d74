"""The options of a figure's function: its own, and those that it hands on to seaborn."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from ftdiff.registry import Registry

#: What maps hand on to `seaborn.heatmap`.
SEABORN = (
    *("annot", "fmt", "annot_kws", "linewidths", "linecolor", "cbar", "cbar_kws", "square"),
    *("mask", "alpha", "rasterized", "edgecolors"),
)


def options_of(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's options."""
    parameters = inspect.signature(function).parameters.values()
    hands_on = any(one.kind is one.VAR_KEYWORD for one in parameters)
    own = [one.name for one in parameters if one.kind is not one.VAR_KEYWORD]
    return [*own, *(name for name in SEABORN if hands_on and name not in own)]


def check(style: str, function: Callable[..., Any], given: Iterable[str]) -> None:
    """Refuse options that a function does not have.

    Raises
    ------
    UnknownName
        One is none of them.
    """
    known = Registry(f"option of style {style!r}", dict.fromkeys(options_of(function)))
    for option in given:
        known[option]
