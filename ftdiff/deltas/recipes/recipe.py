"""The two nouns above every adapter: a recipe for one tensor, and a fine-tune full of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

from ftdiff.deltas.forms import Delta
from ftdiff.deltas.moments import Moments
from ftdiff.naming import Address
from ftdiff.tensors import Array, LazyTensor

#: Returns entries `start` to `stop` of ΔW: float64, flat, in the order of the base's file.
Entries: TypeAlias = Callable[[int, int], Array]


class Recipe(Protocol):
    """How one base tensor changes; frozen, picklable, holds lazy tensors and resolved numbers.

    A recipe is cut into tiles by position alone, so that any worker measures any range of tiles
    and the parts add up to the same bits.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The base tensor's shape, known from headers."""

    @property
    def dtype(self) -> str:
        """The storage dtype of the tuned weights; "" for an unmerged adapter, which has none."""

    @property
    def form(self) -> str:
        """The form of ΔW: dense, low-rank, …."""

    def fitted(self, shape: tuple[int, ...]) -> Recipe | None:
        """Return what of the change fits a base of this shape.

        Itself where all of it does; its first rows where that is what both have, as with a grown
        vocabulary; None where nothing is comparable.
        """

    def tiles(self, base: LazyTensor | None) -> int:
        """Return into how many tiles the measuring is cut."""

    def moments(self, base: LazyTensor | None, tiles: range | None = None) -> Moments:
        """Measure these tiles (all by default), streaming; without a base, what needs none."""

    def entries(self, base: LazyTensor | None) -> Entries:
        """Open ΔW to be read by entries: what it is made from is read once, here.

        Runs of entries cost least where they end with rows.
        """

    def delta(self, base: LazyTensor | None) -> Delta:
        """Return ΔW as a whole, in its own form, as a matrix oriented as the base is stored."""


def common_rows(mine: tuple[int, ...], theirs: tuple[int, ...]) -> int | None:
    """Return how many first rows two shapes share; None where the rest of the shapes differ."""
    if not mine or not theirs or mine[1:] != theirs[1:]:
        return None
    return min(mine[0], theirs[0])


@dataclass(frozen=True)
class Tuned:
    """A fine-tune: recipes by base tensor name, and what was found on the way.

    Attributes
    ----------
    recipes
        By base tensor name (as the fine-tune spells it; `plan.pair` matches the spelling).
    source, kind, config
        The path; "full", "lora", "dora", …; the adapter's or the model's configuration.
    scalings
        For each tensor that an adapter scales: the factor and where it came from, in words.
    unmatched
        Keys of the files that led to no recipe, each with the reason.
    layout
        The base tensor behind each name of the model that was tuned, where its layers are
        replicas of the base's; empty where the two have the same layers.
    files, notes
        What was opened, for provenance; what is odd but readable, in sentences.
    lost
        Why the base has no tensor of a recipe's name, where whoever read the files could say.
    given
        Every tensor of the files, by its key there.
    spent
        Keys that are in no recipe and yet accounted for, each with the recipes that have a number
        from its value (α); with none, it is known to be no part of the change (what acts in
        training alone).
    beside
        An adapter in the model's folder, opened, and not compared.
    spelled
        What the file calls those recipes that were given another name since.
    places
        The places of recipes whose names say nothing of it.
    """

    recipes: Mapping[str, Recipe]
    source: str
    kind: str
    config: Mapping[str, Any] = field(default_factory=dict)
    scalings: Mapping[str, str] = field(default_factory=dict)
    unmatched: Mapping[str, str] = field(default_factory=dict)
    layout: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    lost: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, LazyTensor] = field(default_factory=dict)
    spent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beside: Tuned | None = None
    spelled: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, Address] = field(default_factory=dict)

    def respelled(self, names: Mapping[str, str]) -> Tuned:
        """Return the same with other names for some recipes, by the names they have."""
        if not names:
            return self
        spelled = {names.get(name, name): own for name, own in self.spelled.items()}
        spelled |= {new: self.spelled.get(old, old) for old, new in names.items() if new != old}
        return replace(
            self,
            recipes={names.get(name, name): recipe for name, recipe in self.recipes.items()},
            scalings={names.get(name, name): origin for name, origin in self.scalings.items()},
            lost={names.get(name, name): why for name, why in self.lost.items()},
            spent={
                key: tuple(dict.fromkeys(names.get(name, name) for name in of))
                for key, of in self.spent.items()
            },
            spelled=spelled,
        )
