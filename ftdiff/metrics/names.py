"""One name where several are taken: a lone metric, path or state dict is one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any


def several(given: Any) -> tuple[Any, ...]:
    """Return what was given one by one.

    >>> several("rotation"), several(["rotation", "angle"])
    (('rotation',), ('rotation', 'angle'))
    """
    lone = isinstance(given, str | bytes | PathLike | Mapping) or not isinstance(given, Iterable)
    return (given,) if lone else tuple(given)
