"""The words of `naming/*.toml`: which wrap, which hold experts, which module has which role."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

# No table names a role by more words.
_LONGEST = 6


@dataclass(frozen=True)
class Roles:
    """The roles that hold for one file."""

    layer: Mapping[str, str]
    outside: Mapping[str, str]
    blocks: Mapping[str, Mapping[str, Sequence[str]]]

    def label(self, stack: str, module: str, *, in_layer: bool) -> tuple[str, str]:
        """Block and role of a module, "" for a role that no table knows."""
        table = self.layer if in_layer else self.outside
        parts = [*(stack.split(".") if stack else ()), *module.rsplit(".", _LONGEST)[-_LONGEST:]]
        # One word is a whole name, not how any name ends: `norm` is not `projector.norm`.
        ends = (".".join(parts[-n:]) for n in range(min(len(parts), _LONGEST), 1, -1))
        for end in (*ends, module):
            if end in table:
                block, _, role = table[end].partition(".")
                return block, role
        return self._block(module.lower(), "layer" if in_layer else "outside"), ""

    def _block(self, module: str, where: str) -> str:
        for block, hints in self.blocks[where].items():
            text = module.rpartition(".")[2] if block == "norm" else module
            if any(hint in text for hint in hints):
                return block
        return "other"


@dataclass(frozen=True)
class Words:
    """All tables, as they are used."""

    wrappers: frozenset[str]
    inside: re.Pattern[str]
    towers: Mapping[str, str]
    main_towers: frozenset[str]
    lists: frozenset[str]
    experts: frozenset[str]
    params: frozenset[str]
    param_suffixes: tuple[str, ...]
    blocks: Mapping[str, Mapping[str, Sequence[str]]]
    families: Mapping[str, Mapping[str, Any]]

    def unwrap(self, name: str, wrappers: frozenset[str]) -> str:
        """Drop leading wrappers, and those that stand anywhere; the last word stays."""
        name = self.inside.sub("", name)
        start = 0
        while (stop := name.find(".", start)) >= 0 and name[start:stop] in wrappers:
            start = stop + 1
        return name[start:]

    def split_param(self, path: str) -> tuple[str, str]:
        """Cut the parameter off: ("mlp.fc1", "bias"); without one, all is a module's weight."""
        parts = path.rsplit(".", 3)
        for n, word in enumerate(parts):
            # `weight.quant_state.nf4`: what belongs to a weight is its parameter, not a module.
            if word in ("weight", "bias") or (n == len(parts) - 1 and word in self.params):
                return ".".join(parts[:n]), ".".join(parts[n:])
        for suffix in self.param_suffixes:
            stem = path.removesuffix(f"_{suffix}")
            if stem != path and stem and not stem.endswith("."):
                return stem, suffix
        return path, "weight"

    def roles(self, modules: Iterable[str]) -> Roles:
        """Merge the families' tables for a file that has these modules; narrower ones win."""
        present = set(modules)
        merged: dict[str, dict[str, str]] = {"layer": {}, "outside": {}}
        for family in sorted(self.families.values(), key=lambda family: "when" in family):
            if present.issuperset(family.get("when", ())):
                for where, table in merged.items():
                    table.update(family.get(where, {}))
        return Roles(merged["layer"], merged["outside"], self.blocks)


@cache
def read_words() -> Words:
    """Read the tables, once and when first needed."""
    import tomllib

    folder = files("ftdiff") / "naming" / "families"
    tables = {
        entry.name: tomllib.loads(entry.read_text("utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }
    general = tables.pop("words.toml")
    anywhere = "|".join(re.escape(word) for word in general["anywhere"])
    return Words(
        wrappers=frozenset(general["wrappers"]),
        inside=re.compile(rf"(?<![^.])(?:{anywhere})\."),
        towers=general["towers"],
        main_towers=frozenset(general["main_towers"]),
        lists=frozenset(general["lists"]),
        experts=frozenset(general["experts"]),
        params=frozenset(general["params"]),
        param_suffixes=tuple(general["param_suffixes"]),
        blocks=general["blocks"],
        families=tables,
    )
