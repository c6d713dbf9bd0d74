"""Parts of a model that are taken away or put in: layers, and components of layers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ftdiff.comparison.frame import Columns


@dataclass(frozen=True)
class Part:
    """Some parameters of a model.

    Attributes
    ----------
    stack, layer
        Which layer; None for what is in none: embeddings, heads, the last norm.
    component
        Which component of it; None for all of the layer.
    names
        Parameters, by their first names.
    """

    stack: str
    layer: int | None
    component: str | None
    names: tuple[str, ...]

    def columns(self) -> dict[str, str | int | None]:
        """Return what tells it apart, as columns of a frame."""
        return {"stack": self.stack, "layer": self.layer, "component": self.component}


def parts(tensors: Columns, named: Mapping[str, str], *, components: bool = False) -> list[Part]:
    """Group parameters by layer, or by layer and component; what is in no layer comes last.

    Parameters
    ----------
    tensors
        Columns of a diff: `tensor, stack, layer, component`.
    named
        By tensor of the base's file, the parameter's first name; one that is tied counts once.
    components
        Whether components of a layer are parts of their own.
    """
    found: dict[tuple[str, int | None, str | None], dict[str, None]] = {}
    columns = (tensors[name].tolist() for name in ("tensor", "stack", "layer", "component"))
    for tensor, stack, layer, component in zip(*columns, strict=True):
        if tensor in named:
            key = (stack if layer is not None else "", layer, component if components else None)
            found.setdefault(key, {})[named[tensor]] = None
    order = sorted(found, key=lambda key: (key[1] is None, key[0], key[1] or 0, key[2] or ""))
    return [Part(*key, tuple(found[key])) for key in order]


def of(part: Part, names: Collection[str]) -> tuple[str, ...]:
    """Return those parameters of a part that are among these."""
    return tuple(name for name in part.names if name in names)


def label(stack: str, layer: int | None, component: str | None = None) -> str:
    """Name a part in words.

    >>> label("", 3), label("vision", 3, "attn.q"), label("", None)
    ('layer 3', 'vision layer 3 attn.q', 'outside the layers')
    """
    words: Iterable[str] = ("outside the layers",) if layer is None else (stack, f"layer {layer}")
    return " ".join(word for word in (*words, component or "") if word)
