"""What can be said of an adapter's type and configuration, by what way, and why not otherwise."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from ftdiff.errors import Irreproducible
from ftdiff.registry import Registry

#: A formula of our own; PEFT on one module, alone, beside the largest or among all others; nothing
#: that the files determine; nothing that changes a base weight.
Way = Literal["closed", "module", "shapes", "order", "refused", "beside"]


@dataclass(frozen=True)
class Capability:
    """A row of the table.

    Attributes
    ----------
    type, when, absent
        The `peft_type`; what its configuration has to be, field by field; what it has to lack.
    way
        How the change is had.
    why
        What is said to who asks, as the end of a sentence.
    prefix
        How the type's keys begin, after the module's path.
    weight, bias
        Which of a module's tensors change.
    kind
        The short name: lora, oft, ….
    placeholders
        Of the other targets the places matter, and not the shapes.
    """

    type: str
    way: Way
    when: Mapping[str, str | bool | float] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    why: str = ""
    prefix: str = ""
    weight: bool = True
    bias: bool = False
    kind: str = ""
    placeholders: bool = False

    def fits(self, config: Mapping[str, Any]) -> bool:
        """Say whether this row speaks of that configuration."""
        wanted = all(name in config and _is(config[name], v) for name, v in self.when.items())
        return wanted and not any(name in config for name in self.absent)


@cache
def read_table() -> Registry[tuple[Capability, ...]]:
    """Return the rows of every known type, in the order in which they are asked."""
    text = (files("ftdiff.adapters.peft") / "capabilities.toml").read_text("utf-8")
    rows: dict[str, tuple[Capability, ...]] = {}
    for entry in tomllib.loads(text)["row"]:
        absent = tuple(entry.pop("absent", ()))
        row = Capability(**{"kind": entry["type"].lower(), **entry}, absent=absent)
        rows[row.type] = (*rows.get(row.type, ()), row)
    return Registry("PEFT type", rows)


def of(config: Mapping[str, Any]) -> Capability:
    """Return what can be said of this configuration.

    Raises
    ------
    UnknownName
        The type is in no row.
    Irreproducible
        The type is known, but not this configuration of it.
    """
    kind = str(config.get("peft_type"))
    for row in read_table()[kind]:
        if row.fits(config):
            return row
    raise Irreproducible(f"adapter_config.json: this configuration of {kind} is not known")


def _is(found: Any, wanted: str | bool | float) -> bool:
    if isinstance(wanted, str):
        return isinstance(found, str) and fnmatchcase(found, wanted)
    return bool(found) is wanted if isinstance(wanted, bool) else bool(found == wanted)
