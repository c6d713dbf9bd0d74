"""What is in a checkpoint or an adapter, from headers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ftdiff.adapters import open_base, open_tuned
from ftdiff.comparison.alignment import buffers, together
from ftdiff.comparison.beside import inside
from ftdiff.deltas.recipes import Replaced, Tuned
from ftdiff.deltas.recipes.held import held
from ftdiff.errors import Irreproducible
from ftdiff.formats import Checkpoint, open_checkpoint
from ftdiff.naming import Address, component_order, locate
from ftdiff.naming.stack_order import stack_labels, stack_order
from ftdiff.tensors import LazyTensor, numel, stored_as


@dataclass(frozen=True)
class Contents:
    """What headers tell, as plain values.

    Attributes
    ----------
    facts
        Label and value: source, kind, parameters, layers, dtypes, ….
    components
        For each component: tensors, parameters, shapes and, for an adapter, ranks.
    scalings
        For each distinct factor and origin, how many modules use it and the first one's name.
    unmatched, notes
        Keys that led to no recipe, with the reason; what is odd but readable.
    """

    facts: Mapping[str, str]
    components: tuple[Mapping[str, Any], ...]
    scalings: tuple[Mapping[str, Any], ...] = ()
    unmatched: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def inspect(source: Any, base: Any | None = None) -> Contents:
    """Say what a checkpoint or an adapter holds; no tensor is read.

    An adapter whose change its files do not determine is shown by its tensors, and the reason is
    a note.

    Parameters
    ----------
    source
        What `open_tuned` takes.
    base
        What `open_checkpoint` takes: names and orientations are then the base's.

    Raises
    ------
    BadFile, BadAdapter
        The files are not what they claim to be.
    """
    opened = open_base(base)
    tuned = _opened(source, opened)
    if opened is not None:  # keys that are parts of what the base stores as one are matched
        _, (known,) = together(opened, [tuned])
        lost = {name: why for name, why in known.lost.items() if name in known.recipes}
        tuned = replace(tuned, unmatched=known.unmatched, lost=lost, notes=known.notes)
    held = buffers.of(tuned) if tuned.kind == "full" else ()
    tuned = buffers.left(tuned, held)
    addresses = locate(list(tuned.recipes))
    groups: dict[str, list[str]] = {}
    for name, address in addresses.items():
        groups.setdefault(address.component, []).append(name)
    facts = {"source": tuned.source, "kind": tuned.kind, **_configured(tuned.config)}
    facts["tensors"] = f"{len(tuned.recipes):,}"
    facts["parameters"] = f"{_stored(tuned):,}"
    if layers := _layers(addresses.values()):
        facts["layers"] = layers
    facts["dtypes"] = _counted(_dtypes(tuned)) or "none"
    facts["files"] = ", ".join(str(file["name"]) for file in tuned.files) or "none"
    return Contents(
        facts,
        tuple(_component(tuned, word, groups[word]) for word in component_order(groups)),
        _scalings(tuned),
        {**tuned.unmatched, **tuned.lost},
        (*tuned.notes, *([buffers.sentence(held)] if held else []), *inside(tuned)),
    )


def _layers(addresses: Iterable[Address]) -> str:
    """Count the layers of each stack, in the model's order: layers of two are never added."""
    found: dict[str, set[int]] = {}
    for address in addresses:
        if address.layer is not None:
            found.setdefault(address.stack, set()).add(address.layer)
    labels = stack_labels(found)
    return ", ".join(
        f"{labels[stack]} {len(some)} ({min(some)}–{max(some)})".strip()
        for stack, some in ((stack, found[stack]) for stack in stack_order(found))
    )


def _opened(source: Any, base: Checkpoint | None) -> Tuned:
    try:
        return open_tuned(source, base)
    except Irreproducible as error:
        opened = open_checkpoint(source)
        recipes = {name: Replaced(tensor) for name, tensor in opened.tensors.items()}
        notes = (*opened.notes, str(error))
        return Tuned(recipes, opened.source, "irreproducible", files=opened.files, notes=notes)


def _configured(config: Mapping[str, Any]) -> dict[str, str]:
    words = {
        "model_type": "architecture",
        "base_model_name_or_path": "base it names",
        "peft_version": "written by peft",
        "init_lora_weights": "initialised as",
    }
    found = {label: config.get(key) for key, label in words.items()}
    targets = config.get("target_modules")
    found["targets"] = ", ".join(map(str, targets)) if isinstance(targets, list) else targets
    return {label: str(value) for label, value in found.items() if value not in (None, "", True)}


def _tensors(tuned: Tuned) -> list[LazyTensor]:
    """Return the lazy tensors that the recipes hold, each once."""
    found: dict[Hashable, LazyTensor] = {}
    for recipe in tuned.recipes.values():
        for _, part in held(recipe):
            found[part.storage or id(part)] = part
    return list(found.values())


def _stored(tuned: Tuned) -> int:
    return sum(numel(tensor.shape) for tensor in _tensors(tuned))


def _dtypes(tuned: Tuned) -> Counter[str]:
    return Counter(stored_as(tensor) for tensor in _tensors(tuned))


def _counted(found: Counter[str]) -> str:
    return ", ".join(f"{name} × {count:,}" for name, count in found.most_common())


def _component(tuned: Tuned, word: str, names: list[str]) -> dict[str, Any]:
    recipes = [tuned.recipes[name] for name in names]
    shapes = Counter("×".join(map(str, recipe.shape)) or "scalar" for recipe in recipes)
    ranks = Counter(str(rank) for rank in (_rank(recipe) for recipe in recipes) if rank)
    return {
        "component": word,
        "tensors": len(names),
        "parameters": sum(numel(recipe.shape) for recipe in recipes),
        "shapes": _counted(shapes),
        "forms": _counted(Counter(recipe.form for recipe in recipes)),
        "ranks": _counted(ranks),
    }


def _rank(recipe: Any) -> int | None:
    """Return r where the change is a product of two factors: the first axis of A."""
    shapes = {word: part.shape for word, part in held(recipe)}
    return int(shapes["A"][0]) if shapes.get("A") and "B" in shapes else None


def _scalings(tuned: Tuned) -> tuple[dict[str, Any], ...]:
    counts = Counter(tuned.scalings.values())
    first: dict[str, str] = {}
    for name, origin in tuned.scalings.items():
        first.setdefault(origin, name)
    return tuple(
        {"scale": origin, "modules": count, "first": first[origin]}
        for origin, count in counts.most_common()
    )
