"""Which tensors of a file are no weights: tables made from settings, masks and counters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

Shape = tuple[int, ...]


def buffers(shapes: Mapping[str, Shape]) -> Iterator[str]:
    """Yield the names of a file's buffers, by their names, their shapes and what is beside them.

    A name alone is never enough: what is trained may be called the same.

    Parameters
    ----------
    shapes
        Of all tensors of one file set, by name.

    Examples
    --------
    >>> attn = {"h.0.attn.c_attn.weight": (8, 24), "h.0.attn.c_attn.bias": (24,)}
    >>> [*buffers({**attn, "h.0.attn.bias": (1, 1, 32, 32)})]
    ['h.0.attn.bias']
    >>> [*buffers({"proj.weight": (8, 8), "proj.bias": (8,), "rel.bias": (1, 1, 32, 32)})]
    []
    """
    words, top = _rows()
    for name, shape in shapes.items():
        parent, _, last = name.rpartition(".")
        row = words.get(last)
        if name in top:
            if _is(top[name], shape):
                yield name
        elif row is not None and _is(row["shape"], shape):
            beside = row.get("beside")
            if beside is None or _has(parent, beside, shapes):
                yield name


def _is(kind: str, shape: Shape) -> bool:
    if kind == "one":
        return math.prod(shape) == 1
    if kind == "vector":
        return len(shape) == 1
    if kind == "line":
        return len(shape) == 1 or (len(shape) == 2 and shape[0] == 1)
    if kind in ("square", "squares"):
        alike = len(shape) > 1 and shape[-1] == shape[-2]
        return alike and (kind == "squares" or math.prod(shape[:-2]) == 1)
    return kind == "any"


def _has(parent: str, words: list[str], shapes: Mapping[str, Shape]) -> bool:
    """Say whether a module has no weight of its own, and one of some modules below it."""
    if f"{parent}.weight" in shapes:
        return False
    return any(f"{parent}.{word}.weight" in shapes for word in words)


@cache
def _rows() -> tuple[Mapping[str, Mapping[str, Any]], Mapping[str, str]]:
    """Return the rows by the last word, and the kind of shape by the whole name."""
    import tomllib

    table = tomllib.loads((files("ftdiff") / "naming" / "buffers.toml").read_text("utf-8"))
    words = {word: row for row in table["buffers"] for word in row["words"]}
    return words, {name: kind for kind, names in table["top"].items() for name in names}
