"""An adapter, or one module of it, as its family sees it, and what it makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from ftdiff.deltas.recipes import Recipe
from ftdiff.formats import Checkpoint
from ftdiff.formats.note import Note
from ftdiff.naming import strip_wrappers
from ftdiff.naming.matching import Spellings
from ftdiff.naming.translation import sides_of
from ftdiff.tensors import LazyTensor

#: Where in a configuration it is said that it is no adapter_config.json's, and whose.
ORIGIN = "told by"


class Target:
    """The base that an adapter is for, asked under the adapter's spelling; there may be none."""

    def __init__(self, base: Checkpoint | None) -> None:
        self._tensors = base.tensors if base is not None else {}
        self._layers: dict[str, dict[str, tuple[int, ...]]] = {}
        self._spellings = Spellings({name: t.shape for name, t in self._tensors.items()})
        self.config: Mapping[str, Any] = base.config if base is not None else {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the base's tensors; none where there is no base."""
        return tuple(self._tensors)

    @property
    def notes(self) -> tuple[Note, ...]:
        """What is to be said of how names were found: under another spelling of them."""
        counted = Counter(self._spellings.translated.values())
        return tuple(translated(dialect, count) for dialect, count in counted.items())

    def find(self, name: str) -> LazyTensor | None:
        """Return the base tensor of that name, whatever its wrappers."""
        found = self._spellings.find(name)
        return None if found is None else self._tensors[found]

    def layer(self, path: str) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the base tensors of a layer (`model.layers.0`), by name."""
        if not self._layers:
            for name, tensor in self._tensors.items():
                words = strip_wrappers(name).split(".")
                number = next((i for i, word in enumerate(words) if word.isdecimal()), None)
                if number is not None:
                    layer = ".".join(words[: number + 1])
                    self._layers.setdefault(layer, {})[name] = tensor.shape
        return self._layers.get(strip_wrappers(path), {})

    def name(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        """Return the base's spelling of a name; the name itself where the base has none."""
        return self._spellings.find(name, shape) or name


def translated(dialect: str, count: int) -> Note:
    """Say that names were matched between two public spellings of one architecture."""
    first, second = sides_of(dialect)
    were = "name was" if count == 1 else "names were"
    text = f"{count:,} {were} matched between two spellings of one architecture: "
    return Note("translated", f"{text}{first} and {second}", dialect=dialect, names=count)


@dataclass(frozen=True)
class Module:
    """The tensors of one adapted module.

    Attributes
    ----------
    path
        The module's dotted path, as the adapter spells it.
    tensors
        Its tensors by suffix: "lora_A.weight", ….
    config
        The adapter's configuration.
    target
        The base.
    shared
        Tensors that all modules use, by their name without "base_model.": "vera_A", ….
    """

    path: str
    tensors: Mapping[str, LazyTensor]
    config: Mapping[str, Any]
    target: Target
    shared: Mapping[str, LazyTensor] = field(default_factory=dict)

    def told(self, sentence: str) -> str:
        """Return a sentence about the configuration that names where it is: the file's header."""
        held = self.config.get(ORIGIN)
        return sentence.replace("adapter_config.json", held) if held else sentence


@dataclass(frozen=True)
class Adapter:
    """A whole adapter, its keys sorted by what they belong to.

    Attributes
    ----------
    modules
        The tensors of each adapted module: by path, then by suffix.
    plain
        Saved copies of base tensors, by the base's name: biases, `modules_to_save`.
    shared
        Tensors that all modules use, by their name without "base_model.".
    config, target
        The adapter's configuration; the base.
    keys
        The file's key of each tensor, by the tensor's identity.
    """

    modules: Mapping[str, Mapping[str, LazyTensor]]
    plain: Mapping[str, LazyTensor]
    shared: Mapping[str, LazyTensor]
    config: Mapping[str, Any]
    target: Target
    keys: Mapping[int, str] = field(default_factory=dict)

    def key(self, tensor: LazyTensor) -> str:
        """Return what the file calls a tensor; "" where there is no file."""
        return self.keys.get(id(tensor), "")


@dataclass(frozen=True)
class Reading:
    """What a family makes of a module.

    Attributes
    ----------
    recipes
        By base tensor name.
    scalings
        The factor in front of each and its origin, in words.
    unmatched
        Parts of the module (of a whole adapter: keys of the file) that led to no recipe, with the
        reason.
    notes
        What is odd but readable, in sentences.
    spent
        Parts (or keys) that are in no recipe and yet accounted for, each with the recipes that
        have a number from its value, as α is; with none, it is known to be no part of the change.
    """

    recipes: Mapping[str, Recipe]
    scalings: Mapping[str, str] = field(default_factory=dict)
    unmatched: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    spent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Family(Protocol):
    """What reads the adapters of one type: a module, or a `ClosedForm`."""

    def check(self, config: Mapping[str, Any], /) -> None:
        """Raise for a configuration whose change the family cannot compute."""

    def kind(self, config: Mapping[str, Any], /) -> str:
        """Return the kind's short name: lora, dora, …."""

    def split(self, name: str, /) -> tuple[str, str] | None:
        """Return the module path and the suffix of one of the family's keys; None for another."""

    def read(self, module: Module, /) -> Reading:
        """Turn a module's tensors into recipes."""


@runtime_checkable
class WholeFamily(Protocol):
    """A `Family` that reads an adapter as a whole, because its modules depend on each other."""

    def read_all(self, adapter: Adapter) -> Reading:
        """Turn a whole adapter into recipes, its plain and shared tensors included."""
