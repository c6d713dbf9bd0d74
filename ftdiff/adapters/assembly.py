"""Single-file adapters put together: keys into modules, readings into a `Tuned`, nothing lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ftdiff.adapters.account import by_key, with_parts
from ftdiff.adapters.family import Module, Reading, Target
from ftdiff.adapters.lycoris import module as lycoris
from ftdiff.deltas.recipes import Recipe, Tuned, Unreadable
from ftdiff.deltas.recipes.held import stored
from ftdiff.formats import Checkpoint
from ftdiff.formats.note import Note
from ftdiff.tensors import LazyTensor

Split = Callable[[str], tuple[str, str] | None]
Modules = dict[str, dict[str, LazyTensor]]


def group(tensors: Mapping[str, LazyTensor], split: Split) -> tuple[Modules, dict[str, str]]:
    """Sort keys into modules by path and part; name those that belong to none, with the reason."""
    modules: Modules = defaultdict(dict)
    unmatched: dict[str, str] = {}
    keys: dict[tuple[str, str], str] = {}
    for name, tensor in tensors.items():
        path, _, last = name.rpartition(".")
        found = split(name)
        if found is None and last == "weight" and f"{path}.on_input" in tensors:
            found = path, "weight"
        if found is None:
            unmatched[name] = "not a part of any adapter that is known"
            continue
        before = keys.get(found)
        if before is None or len(name) < len(before):  # an adapter's name makes a key longer
            modules[found[0]][found[1]], keys[found] = tensor, name
        if before is not None:
            second = max(name, before, key=len)
            unmatched[second] = f"a second {found[1]} of {found[0]}; only the first is read"
    return modules, unmatched


@dataclass
class Assembly:
    """A fine-tune while its modules are read.

    Attributes
    ----------
    base
        The opened base, if there is one.
    given
        The tensors of the file, by key.
    recipes, scalings, unmatched, lost, spent
        As in `Tuned`.
    notes
        Sentences, each once, in order.
    """

    base: Checkpoint | None
    given: Mapping[str, LazyTensor]
    recipes: dict[str, Recipe] = field(default_factory=dict)
    scalings: dict[str, str] = field(default_factory=dict)
    unmatched: dict[str, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    spent: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    _kinds: Counter[str] = field(default_factory=Counter)
    _claims: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Learn the key of every tensor."""
        self._keys = by_key(self.given)

    def read(
        self,
        modules: Modules,
        target: Target,
        lost: Callable[[str], str],
        config: Callable[[str], Mapping[str, Any]] = lambda path: {},
    ) -> None:
        """Read every module as LyCORIS and sd-scripts write them.

        Parameters
        ----------
        modules
            Tensors by path and part.
        target
            The base.
        lost
            Says why the base has no tensor of a name.
        config
            The configuration of a module, by its path.
        """
        for path, tensors in modules.items():
            module = Module(path, tensors, config(path), target)
            scaled = "dora_scale" in tensors or "magnitude" in tensors
            self.add(module, lycoris.read(module), lost)
            self._kinds["dora" if scaled else lycoris.algorithm(tensors) or "unknown"] += 1
        self.note(*target.notes)

    def add(self, module: Module, reading: Reading, lost: Callable[[str], str]) -> None:
        """Take a module's reading.

        Two modules that claim the same tensor of the base are a contradiction: the one whose shape
        fits wins; where both fit, neither is measured.
        """
        for name, recipe in with_parts(reading, module.tensors).recipes.items():
            if self.base is not None and name not in self.base.tensors:
                self.lost[name] = lost(name)
            self._claim(name, recipe, module.path)
        self.scalings.update(reading.scalings)
        for part, why in reading.unmatched.items():
            self.unmatched[self._keys[id(module.tensors[part])]] = why
        for part, names in reading.spent.items():
            self.spent[self._keys[id(module.tensors[part])]] = names
        self.note(*reading.notes)

    def note(self, *sentences: str) -> None:
        """Keep sentences, each once."""
        self.notes.update(dict.fromkeys(sentences))

    @property
    def kind(self) -> str:
        """The algorithm of most modules."""
        return self._kinds.most_common(1)[0][0] if self._kinds else "unknown"

    def tuned(
        self,
        opened: Checkpoint,
        config: Mapping[str, Any],
        notes: Iterable[str] = (),
        kind: str = "",
    ) -> Tuned:
        """Return what was put together."""
        if len(self._kinds) > 1:
            counted = ", ".join(f"{count} {name}" for name, count in self._kinds.most_common())
            text = f"several kinds of modules: {counted}"
            self.note(Note("several-kinds", text, kinds=dict(self._kinds)))
        return Tuned(
            recipes=self.recipes,
            source=opened.source,
            kind=kind or self.kind,
            config=config,
            scalings=self.scalings,
            unmatched=self.unmatched,
            files=opened.files,
            notes=(*opened.notes, *notes, *self.notes),
            lost=self.lost,
            given=self.given,
            spent=self.spent,
        )

    def _claim(self, name: str, recipe: Recipe, path: str) -> None:
        before = self.recipes.get(name)
        if before is None:
            self.recipes[name], self._claims[name] = recipe, path
            return
        other = self._claims[name]
        wanted = self.base.tensors[name].shape if self.base and name in self.base.tensors else None
        fits = before.shape == wanted, recipe.shape == wanted
        if fits[0] != fits[1]:
            self.recipes[name], self._claims[name] = (before, other) if fits[0] else (recipe, path)
            apart, own = (recipe, path) if fits[0] else (before, other)
            own = f"{own}.{name.rpartition('.')[2]}"
            self.recipes[own] = apart
            self.lost[own] = f"fits {name} by its name, not its shape"
            return
        reason = f"{name}: claimed by both {other} and {path}; give the base of one tower alone"
        self.recipes[name] = Unreadable(
            recipe.shape, reason, parts=(*stored(before), *stored(recipe))
        )
