"""Give tuned layers the numbers of the base's layers that they are, where numbers moved.

Layers are matched by a few of their rows where their count differs, or where one is a stranger to
the base's of its number. Layers that are none of the base's keep their own names,
behind "tuned:".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ftdiff.comparison.alignment.layer_match import STRANGER, Match, match
from ftdiff.comparison.alignment.layer_samples import Layer, Slot, Stack
from ftdiff.comparison.alignment.layer_words import beyond, note
from ftdiff.deltas.recipes import Beside, Replaced, Tuned
from ftdiff.formats import Checkpoint
from ftdiff.formats.note import Note
from ftdiff.naming import Address, locate
from ftdiff.tensors import LazyTensor

#: Before the name of a tensor in a layer that is none of the base's, or a further copy of one.
OWN = "tuned:"

#: Names of one side by stack, layer and slot.
_Names = Mapping[str, Mapping[int, Mapping[Slot, str]]]


def with_layers(base: Checkpoint, tuned: Tuned) -> tuple[Checkpoint, Tuned, tuple[Note, ...]]:
    """Match layers by sampled rows; of an adapter only say where its numbers cannot be the base's.

    Nothing is read of two files whose layers have the same bytes, and hardly anything where
    layers have their numbers still.
    """
    places = locate(base.tensors)
    here = _by_layer(places)
    theirs = locate(name for name, one in tuned.recipes.items() if not isinstance(one, Beside))
    there = _by_layer(theirs)
    notes: list[Note] = []
    for stack, other in _stacks(here, there):
        if tuned.kind != "full":
            known = {slot for held in here[stack].values() for slot in held}
            named = [
                n
                for n, held in there[other].items()
                # a layer of which the base has a tensor by name is the base's, however counted
                if known.intersection(held) and base.tensors.keys().isdisjoint(held.values())
            ]
            notes += beyond(stack, [*here[stack]], named)
            continue
        found = _matched(base, tuned, here[stack], there[other])
        if found is None:
            continue
        notes.append(note(stack, found))
        if not found.keeps_numbers or not found.home:
            move = _Move(stack, found, here[stack], there[other], places, theirs)
            base, tuned = move.applied(base, tuned)
    return base, tuned, tuple(notes)


def _by_layer(places: Mapping[str, Address]) -> _Names:
    found: dict[str, dict[int, dict[Slot, str]]] = defaultdict(lambda: defaultdict(dict))
    for name, at in places.items():
        if at.layer is not None:
            found[at.stack][at.layer][at.module, at.param, at.expert] = name
    return {
        stack: dict(sorted((n, dict(held)) for n, held in layers.items()))
        for stack, layers in found.items()
    }


def _stacks(here: _Names, there: _Names) -> Iterator[tuple[str, str]]:
    """Yield stacks of both sides by their name, or the only one of each."""
    if len(here) == len(there) == 1:
        yield next(iter(here)), next(iter(there))
        return
    yield from ((stack, stack) for stack in here if stack in there)


def _matched(
    base: Checkpoint,
    tuned: Tuned,
    here: Mapping[int, Mapping[Slot, str]],
    there: Mapping[int, Mapping[Slot, str]],
) -> Match | None:
    """Match the layers of one stack; None where they have their numbers, or nothing tells."""
    stack = Stack(
        {n: {slot: base.tensors[name] for slot, name in held.items()} for n, held in here.items()},
        {n: _tensors(tuned, held) for n, held in there.items()},
    )
    numbers = tuple(here), tuple(there)
    same = numbers[0] == numbers[1]
    if same and len(here) < 2:
        return None  # no other order
    if same and all(alike >= STRANGER for alike in stack.at_home(numbers[0])):
        return None
    found = stack.likeness()
    if found is None:
        return None
    matched = match(*numbers, *found)
    return None if same and matched.keeps_numbers else matched


def _tensors(tuned: Tuned, held: Mapping[Slot, str]) -> Layer:
    recipes = {slot: tuned.recipes[name] for slot, name in held.items()}
    return {slot: one.tensor for slot, one in recipes.items() if isinstance(one, Replaced)}


@dataclass(frozen=True)
class _Move:
    """The layers of one stack that get other numbers."""

    stack: str
    match: Match
    here: Mapping[int, Mapping[Slot, str]]
    there: Mapping[int, Mapping[Slot, str]]
    places: Mapping[str, Address]
    theirs: Mapping[str, Address]

    def applied(self, base: Checkpoint, tuned: Tuned) -> tuple[Checkpoint, Tuned]:
        """Rename the tuned tensors; what was copied once more is there twice in the base."""
        names: dict[str, str] = {}
        places: dict[str, Address] = {}
        more: dict[str, LazyTensor] = {}
        for layer, held in self.there.items():
            home, copied = self.match.home.get(layer), self.match.copies.get(layer)
            for slot, name in held.items():
                own = f"{OWN}{name}"
                if home is not None:
                    names[name] = self.here[home].get(slot, own)
                elif copied is not None and slot in self.here[copied]:
                    names[name] = own
                    more[own] = base.tensors[self.here[copied][slot]]
                else:
                    names[name] = own
                if names[name] == own:
                    at = home if home is not None else copied
                    places[own] = self._place(name, own, at, slot)
        tuned = tuned.respelled(names)
        tuned = replace(tuned, places={**tuned.places, **places})
        return replace(base, tensors={**base.tensors, **more}), tuned

    def _place(self, name: str, own: str, layer: int | None, slot: Slot) -> Address:
        """Return the place of the base's tensor that it is, or its own, in no layer of the base."""
        of_base = self.here.get(layer, {}).get(slot) if layer is not None else None
        if of_base is not None:
            return replace(self.places[of_base], name=own)
        return replace(self.theirs[name], stack=self.stack, layer=layer, name=own)
