"""Fine-tunes that are planned as another one is: its plan, with their own tensors in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from ftdiff.adapters import moved
from ftdiff.analyses.pairwise.line import Line
from ftdiff.deltas.recipes import Recipe, Tuned, Unreadable

T = TypeVar("T")


def following(planned: Tuned, first: Tuned, one: Tuned) -> Tuned:
    """Return a fine-tune with what was done to the first of its kind done to it.

    Parameters
    ----------
    planned, first
        The first one, with and without what was done.
    one
        Another, which differs from it in nothing but what its tensors hold.
    """
    notes = planned.notes[len(first.notes) :]
    return replace(
        planned,
        recipes=moved(planned.recipes, planned, one),
        source=one.source,
        config=one.config,
        files=one.files,
        given=one.given,
        notes=(*one.notes, *notes),
    )


class Followers:
    """Who is planned as whom.

    Parameters
    ----------
    fine
        All fine-tunes.
    like
        For each the number of the first one that it is planned as.
    """

    def __init__(self, fine: Sequence[Tuned], like: Sequence[int]) -> None:
        self._fine, self._like = fine, like
        #: The first ones, and the place of each among them.
        self.firsts = {first: k for k, first in enumerate(dict.fromkeys(like))}
        self._names = {
            first: {id(recipe): name for name, recipe in fine[first].recipes.items()}
            for first in (self.firsts if len(self.firsts) < len(like) else ())
        }

    def line(self, line: Line) -> Line:
        """Return a line of all, from one of the first ones in their order."""
        if not self._names:
            return line
        return replace(
            line,
            recipes=tuple(self._own(line, i, of) for i, of in enumerate(self._like)),
            unknown=frozenset(
                i for i, of in enumerate(self._like) if self.firsts[of] in line.unknown
            ),
        )

    def _own(self, line: Line, i: int, of: int) -> Recipe | None:
        recipe = line.recipes[self.firsts[of]]
        if i == of or recipe is None:
            return recipe
        name = self._names[of].get(id(recipe))
        if name is None:  # a complaint about the base
            assert isinstance(recipe, Unreadable), recipe
            return recipe
        return self._fine[i].recipes[name]

    def spread(self, values: Sequence[T]) -> list[T]:
        """Return for each the value of the one that it is planned as."""
        return [values[self.firsts[of]] for of in self._like]
