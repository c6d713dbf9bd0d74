"""The tables of `naming/families/*.toml`: which words wrap, which hold blocks, which experts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Words:
    """All tables, as they are used."""

    wrappers: frozenset[str]
    inside: re.Pattern[str]
    towers: Mapping[str, str]
    main_towers: frozenset[str]
    lists: frozenset[str]
    inner_lists: frozenset[str]
    experts: frozenset[str]
    params: frozenset[str]
    param_suffixes: tuple[str, ...]
    blocks: Mapping[str, Sequence[str]]
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
        lists=frozenset([*general["lists"], *general["inner_lists"]]),
        inner_lists=frozenset(general["inner_lists"]),
        experts=frozenset(general["experts"]),
        params=frozenset(general["params"]),
        param_suffixes=tuple(general["param_suffixes"]),
        blocks=general["blocks"],
        families=tables,
    )
