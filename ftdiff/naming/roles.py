"""Block and role of every module of a file: by its family's tables, else by single words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ftdiff.naming.layer_lists import Place
from ftdiff.naming.module_paths import Siblings
from ftdiff.naming.single_words import read_single_words
from ftdiff.naming.tables import Words

# No table names a role by more words.
_LONGEST = 6


@dataclass(frozen=True)
class Roles:
    """The roles that hold for one file."""

    layer: Mapping[str, str]
    outside: Mapping[str, str]
    blocks: Mapping[str, Sequence[str]]
    siblings: Mapping[str | None, Siblings]

    @classmethod
    def of(cls, found: Iterable[tuple[str | None, str]], words: Words) -> Roles:
        """Merge the families' tables for a file; narrower ones win.

        Parameters
        ----------
        found
            Every module, after the list of blocks that it is in.
        words
            The tables.
        """
        inside: dict[str | None, list[str]] = defaultdict(list)
        for container, module in found:
            inside[container].append(module)
        present = {module for modules in inside.values() for module in modules}
        merged: dict[str, dict[str, str]] = {"layer": {}, "outside": {}}
        for family in sorted(words.families.values(), key=lambda family: "when" in family):
            if present.issuperset(family.get("when", ())):
                for where, table in merged.items():
                    table.update(family.get(where, {}))
        siblings = {
            container: Siblings([module.lower() for module in modules])
            for container, modules in inside.items()
        }
        return cls(merged["layer"], merged["outside"], words.blocks, siblings)

    def label(self, stack: str, module: str, place: Place, *, own: bool = False) -> tuple[str, str]:
        """Block and role of a module, "" for a role that nothing tells.

        Parameters
        ----------
        stack, module
            Where it is, and its path there.
        place
            The lists of blocks that it is in.
        own
            Whether it is a parameter of its own, without a module.
        """
        table = self.outside if place.container is None else self.layer
        parts = [*(stack.split(".") if stack else ()), *module.rsplit(".", _LONGEST)[-_LONGEST:]]
        # One word is a whole name, not how any name ends: `norm` is not `projector.norm`.
        ends = [".".join(parts[-n:]) for n in range(min(len(parts), _LONGEST), 1, -1)]
        whole = module.removeprefix(f"{place.inner}.") if place.inner else module
        singles, siblings = read_single_words(), self.siblings[place.container]
        lists = [path for path in (place.container, place.inner) if path]
        if not lists or not singles.is_elsewhere(lists, module, siblings):
            ends.append(whole)
        for end in ends:
            if end in table and singles.agree(table[end], parts[: -len(end.split("."))]):
                block, _, role = table[end].partition(".")
                if place.container is not None:
                    kind = singles.kind(block, place.container, module, siblings)
                    role = role if role.startswith(kind) else kind + role
                return block, role
        if place.container is None:
            return self._block(module.lower()), ""
        return singles.label(place.container, module, siblings, own=own)

    def _block(self, module: str) -> str:
        for block, hints in self.blocks.items():
            text = module.rpartition(".")[2] if block == "norm" else module
            if any(hint in text for hint in hints):
                return block
        return "other"
