"""Models under llama.cpp's names meet those under their own, by the table of the `gguf` package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ftdiff.adapters.gguf_names import Names, of_llama_cpp
from ftdiff.comparison.alignment.renamed import under
from ftdiff.deltas.recipes import Recipe, Replaced, Tuned
from ftdiff.formats import Checkpoint
from ftdiff.formats.note import Note
from ftdiff.tensors import LazyTensor
from ftdiff.tensors.arranged import Hollow, Reshaped, Rows


def with_llama_cpp(base: Checkpoint, tuned: Tuned) -> tuple[Checkpoint, Tuned, tuple[Note, ...]]:
    """Bring both sides under the names of the one that is not llama.cpp's.

    Raises
    ------
    BadAdapter, MissingExtra
        The `gguf` package does not know the architecture, or is not installed.
    """
    mine, theirs = of_llama_cpp(base.tensors), of_llama_cpp(tuned.recipes)
    if mine == theirs:
        return base, tuned, ()
    if theirs:
        names = Names(base, _arch(tuned.config))
        split, spelled = _recipes(tuned, names)
        count = sum(name in base.tensors for name in (*split, *spelled.values()))
        kept = {n: r for n, r in tuned.recipes.items() if len(names.find(n)) == 1}
        return base, under(replace(tuned, recipes={**kept, **split}), spelled, {}), _said(count)
    shapes = {name: Hollow(recipe.shape) for name, recipe in tuned.recipes.items()}
    names = Names(Checkpoint(shapes, tuned.source, "hollow"), _arch(base.config))
    tensors: dict[str, LazyTensor] = {}
    for name, tensor in base.tensors.items():
        tensors.update(_each(names.find(name), tensor))
    return replace(base, tensors=tensors), tuned, _said(len({*tensors} - {*base.tensors}))


def _recipes(tuned: Tuned, names: Names) -> tuple[dict[str, Recipe], dict[str, str]]:
    """Return the recipes of experts that are one tensor here, and the other names by ours."""
    split: dict[str, Recipe] = {}
    spelled: dict[str, str] = {}
    for name, recipe in tuned.recipes.items():
        found = names.find(name)
        if len(found) > 1 and isinstance(recipe, Replaced):
            split.update({n: Replaced(t) for n, t in _each(found, recipe.tensor).items()})
        elif found[0] != name:
            spelled[name] = found[0]
    return split, spelled


def _each(names: tuple[str, ...], tensor: LazyTensor) -> Mapping[str, LazyTensor]:
    """Return a tensor under its name, or that of each expert under its own."""
    if len(names) == 1 or len(tensor.shape) != 3 or tensor.shape[0] != len(names):
        return {names[0]: tensor}
    return {name: Reshaped(Rows(tensor, e, 1), tensor.shape[1:]) for e, name in enumerate(names)}


def _arch(config: Mapping[str, Any]) -> str:
    return str(config.get("model_type", ""))


def _said(count: int) -> tuple[Note, ...]:
    text = f"{count:,} names were matched between llama.cpp's and the model's own"
    return (Note("translated", text, dialect="llama.cpp", names=count),) if count else ()
