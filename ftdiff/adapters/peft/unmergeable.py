"""Types that change no base weight: prompts, routers, parallel networks; their norms are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftdiff.adapters.family import Adapter, Module, Reading
from ftdiff.adapters.peft.capabilities import Capability
from ftdiff.deltas.recipes import Beside, Recipe, Replaced
from ftdiff.formats.note import Note


@dataclass(frozen=True)
class BesideFamily:
    """A family of adapters without a static change.

    Parameters
    ----------
    row
        What the table of capabilities says of the adapter's configuration.
    """

    row: Capability

    def check(self, config: Mapping[str, Any]) -> None:
        """Accept every configuration: nothing is computed."""

    def kind(self, config: Mapping[str, Any]) -> str:
        """Return the kind's short name."""
        return self.row.kind

    def split(self, name: str) -> tuple[str, str] | None:
        """Return None: no key belongs to a module's change."""
        return None

    def read(self, module: Module) -> Reading:
        """Return nothing: no module changes."""
        return Reading({})

    def read_all(self, adapter: Adapter) -> Reading:
        """Return every tensor as what works beside the base, and saved copies as replacements."""
        target = adapter.target
        told = adapter.config.get("modules_to_save")
        saved = frozenset(map(str, told)) if isinstance(told, list) else frozenset()
        recipes: dict[str, Recipe] = {}
        for name, tensor in adapter.plain.items():
            copied = not saved.isdisjoint(name.split("."))
            if copied or target.find(name) is not None:
                recipes[target.name(name, tensor.shape)] = Replaced(tensor)
            else:
                recipes[name] = Beside(tensor, self.row.why)
        for name, tensor in adapter.shared.items():
            recipes[f"base_model.{name}"] = Beside(tensor, self.row.why)
        note = f"no base weight changes: {self.row.why}; norms are of the adapter's own tensors"
        return Reading(recipes, notes=(Note("no-base-change", note),))
