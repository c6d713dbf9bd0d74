"""Block and role of every module of a file: by its family's tables, else by single words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ftdiff.naming.layer_lists import Place
from ftdiff.naming.single_words import Siblings, read_single_words
from ftdiff.naming.tables import Words

# No table names a role by more words.
_LONGEST = 6


@dataclass(frozen=True)
class Roles:
    """The roles that hold for one file."""

    layer: Mapping[str, str]
    outside: Mapping[str, str]
    blocks: Mapping[str, Sequence[str]]
    siblings: Siblings

    @classmethod
    def of(cls, modules: Iterable[str], words: Words) -> Roles:
        """Merge the families' tables for a file that has these modules; narrower ones win."""
        present = set(modules)
        merged: dict[str, dict[str, str]] = {"layer": {}, "outside": {}}
        for family in sorted(words.families.values(), key=lambda family: "when" in family):
            if present.issuperset(family.get("when", ())):
                for where, table in merged.items():
                    table.update(family.get(where, {}))
        siblings = Siblings([module.lower() for module in present])
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
        singles = read_single_words()
        around = place.inner or place.container
        if around is None or not singles.is_elsewhere(around, module, self.siblings):
            ends.append(whole)
        for end in ends:
            if end in table and singles.agree(table[end], parts[: -len(end.split("."))]):
                block, _, role = table[end].partition(".")
                if place.container is not None:
                    kind = singles.kind(block, place.container, module, self.siblings)
                    role = role if role.startswith(kind) else kind + role
                return block, role
        if place.container is None:
            return self._block(module.lower()), ""
        return singles.label(place.container, module, self.siblings, own=own)

    def _block(self, module: str) -> str:
        for block, hints in self.blocks.items():
            text = module.rpartition(".")[2] if block == "norm" else module
            if any(hint in text for hint in hints):
                return block
        return "other"
