"""What becomes of an adapter when it is loaded: module by module, key by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from ftdiff.adapters.loading.modules import Shape
from ftdiff.adapters.loading.parts import Sides

#: Filled from the file; in it under another name; in part; not in it; in it and no target.
State = Literal["live", "astray", "half", "absent", "unwanted"]


@dataclass(frozen=True)
class Misfit:
    """A tensor of another shape than the loader makes.

    Attributes
    ----------
    key, found, wanted
        The tensor's key, its shape, and the one that is wanted.
    rank
        The rank that the configuration gives its module; None where that plays no part.
    """

    key: str
    found: Shape
    wanted: Sides
    rank: int | None = None


@dataclass(frozen=True)
class Loading:
    """What a loader makes of an adapter.

    Attributes
    ----------
    states
        What becomes of each module, by its path in the model.
    names
        The base's name of each of them that it has.
    keys
        For a module that is not live, a key as it is found in the file ("" for none) and as the
        loader looks for it ("" where it looks for none).
    misfits
        Tensors of another shape; one makes PEFT refuse all.
    refused
        Why the loader refuses all for another reason; else "".
    ignored
        Keys that the loader passes over, of no module that is not live.
    grown
        By key, how many rows the model's vocabulary has to have first: more than the base's.
    headless
        The prefix that the base's names have and the adapter's lack; else "".
    """

    states: Mapping[str, State]
    names: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    misfits: tuple[Misfit, ...] = ()
    refused: str = ""
    ignored: tuple[str, ...] = ()
    grown: Mapping[str, int] = field(default_factory=dict)
    headless: str = ""

    @cached_property
    def live(self) -> frozenset[str]:
        """The modules that are filled from the file: none where the loader refuses it."""
        if self.refused or self.misfits:
            return frozenset()
        return frozenset(self.of("live"))

    def of(self, state: State) -> list[str]:
        """Return the modules of which this becomes, in their order."""
        return [path for path, found in self.states.items() if found == state]

    @property
    def promised(self) -> list[str]:
        """The modules that the loader looks for, whatever else the file has."""
        return [path for path, found in self.states.items() if found != "unwanted"]
