"""Sampled rows of the layers of one stack on both sides: how alike each is to each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ftdiff.comparison.alignment.chance import reach
from ftdiff.comparison.alignment.samples import Sample, is_same, sample
from ftdiff.tensors import Array, LazyTensor

#: A tensor of a layer: module, param, expert.
Slot = tuple[str, str, int | None]
#: The tensors of a layer.
Layer = Mapping[Slot, LazyTensor]
#: Matrices of a layer that are looked at, and rows of each; first the one that shows whether layers
#: have their numbers still.
_FEW, _MANY = (1, 1), (8, 2)


@dataclass(frozen=True)
class Stack:
    """The layers of one stack on both sides, by their numbers."""

    base: Mapping[int, Layer]
    tuned: Mapping[int, Layer]

    def slots(self) -> list[Slot]:
        """Return the matrices by which layers of both sides can be told apart, most common first.

        They have one shape in all layers; of experts the first is enough.
        """
        counts: Counter[Slot] = Counter()
        shapes: dict[Slot, set[tuple[int, ...]]] = {}
        for side in (self.base, self.tuned):
            for layer in side.values():
                for slot, tensor in layer.items():
                    if len(tensor.shape) > 1 and not slot[2]:
                        counts[slot] += 1
                        shapes.setdefault(slot, set()).add(tensor.shape)
        both = {slot for layer in self.base.values() for slot in layer}
        both &= {slot for layer in self.tuned.values() for slot in layer}
        fit = [slot for slot in counts if slot in both and len(shapes[slot]) == 1]
        return sorted(fit, key=lambda slot: (-counts[slot], slot[0], slot[1]))

    def at_home(self, layers: Sequence[int]) -> list[float]:
        """Return how alike the layers of one number are, from very few rows; 1 where unknown."""
        count, rows = _FEW
        chosen = self.slots()[:count]
        return [_alike(self.base[one], self.tuned[one], chosen, rows) for one in layers]

    def likeness(self) -> tuple[Array, Array] | None:
        """Return the mean cosine of each tuned layer with each of the base, and which are the same.

        A likeness that strangers may have by chance is none: 0. None where no matrix of both can be
        held against each other.
        """
        count, rows = _MANY
        slots = self.slots()[:count]
        base = [_samples(layer, slots, rows) for layer in self.base.values()]
        tuned = [_samples(layer, slots, rows) for layer in self.tuned.values()]
        found = np.zeros((2, len(tuned), len(base)))
        known = False
        for t, mine in enumerate(tuned):
            for b, other in enumerate(base):
                held = [
                    (mine[slot], other[slot]) for slot in slots if slot in mine and slot in other
                ]
                if held:
                    known = True
                    mean = np.mean([one.cosine(two) for one, two in held])
                    sizes = tuple(one.values.size for one, _ in held)
                    found[0, t, b] = mean if mean > reach(sizes, found[0].size) else 0.0
                    # zeros are anybody's
                    equal = [one.equals(two) for one, two in held]
                    found[1, t, b] = all(equal) and not all(one.is_zero for one, _ in held)
        return (found[0], found[1] > 0) if known else None


def _alike(base: Layer, tuned: Layer, slots: Sequence[Slot], rows: int) -> float:
    found = []
    for slot in slots:
        if slot in base and slot in tuned:
            if is_same(base[slot], tuned[slot]):
                found.append(1.0)
                continue
            one, other = sample(base[slot], rows), sample(tuned[slot], rows)
            if one is not None and other is not None:
                found.append(abs(one.cosine(other)))
    return float(np.mean(found)) if found else 1.0


def _samples(layer: Layer, slots: Sequence[Slot], rows: int) -> dict[Slot, Sample]:
    read = {slot: sample(layer[slot], rows) for slot in slots if slot in layer}
    return {slot: one for slot, one in read.items() if one is not None}
