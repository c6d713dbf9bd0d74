"""Single-file adapters put together: keys into modules, readings into a `Tuned`, nothing lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ftdiff.adapters.family import Module, Reading, Target
from ftdiff.adapters.lycoris import module as lycoris
from ftdiff.deltas.recipes import Recipe, Tuned, Unreadable
from ftdiff.formats import Checkpoint
from ftdiff.formats.note import Note
from ftdiff.tensors import LazyTensor

Split = Callable[[str], tuple[str, str] | None]
Modules = dict[str, dict[str, LazyTensor]]


def group(tensors: Mapping[str, LazyTensor], split: Split) -> tuple[Modules, dict[str, str]]:
    """Sort keys into modules by path and part; name those that belong to none, with the reason."""
    modules: Modules = defaultdict(dict)
    unmatched: dict[str, str] = {}
    for name, tensor in tensors.items():
        path, _, last = name.rpartition(".")
        found = split(name)
        if found is None and last == "weight" and f"{path}.on_input" in tensors:
            found = path, "weight"
        if found is None:
            unmatched[name] = "not a part of any adapter that is known"
        elif found[1] in modules[found[0]]:
            unmatched[name] = f"a second {found[1]} of {found[0]}; only the first is read"
        else:
            modules[found[0]][found[1]] = tensor
    return modules, unmatched


@dataclass
class Assembly:
    """A fine-tune while its modules are read.

    Attributes
    ----------
    base
        The opened base, if there is one.
    recipes, scalings, unmatched
        As in `Tuned`.
    notes
        Sentences, each once, in order.
    """

    base: Checkpoint | None
    recipes: dict[str, Recipe] = field(default_factory=dict)
    scalings: dict[str, str] = field(default_factory=dict)
    unmatched: dict[str, str] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    _kinds: Counter[str] = field(default_factory=Counter)
    _claims: dict[str, str] = field(default_factory=dict)

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
        for name, recipe in reading.recipes.items():
            if self.base is not None and name not in self.base.tensors:
                self.unmatched[name] = lost(name)
            self._claim(name, recipe, module.path)
        self.scalings.update(reading.scalings)
        self.unmatched.update(reading.unmatched)
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
            self.recipes[name] = before if fits[0] else recipe
            self._claims[name] = other if fits[0] else path
            self.unmatched[path if fits[0] else other] = f"fits {name} by its name, not its shape"
            return
        reason = f"{name}: claimed by both {other} and {path}; give the base of one tower alone"
        self.recipes[name] = Unreadable(recipe.shape, reason)
