"""A module's path inside its block, what is around it, and what stands beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

#: More words than these tell no role: hostile names stay linear.
DEEPEST = 12


@dataclass(frozen=True)
class Siblings:
    """The modules of a list of blocks, lower case, to ask what stands beside one of them."""

    modules: Collection[str]

    @cached_property
    def _children(self) -> Mapping[str, set[str]]:
        found: dict[str, set[str]] = {}
        for module in self.modules:
            words = module.split(".")[-DEEPEST:]
            for n, word in enumerate(words):
                found.setdefault(".".join(words[:n]), set()).add(word)
        return found

    def beside(self, words: Sequence[str]) -> set[str]:
        """Return the words that stand where the last of a path does."""
        return self._children.get(".".join(words[:-1]), set())


@dataclass(frozen=True)
class Path:
    """A module's path inside its block, lower case, and what is around it.

    Attributes
    ----------
    container
        The path to the list of blocks.
    words
        Its words; `end` of them, up to the last that says something, with it.
    siblings
        All modules of that list.
    """

    container: str
    words: Sequence[str]
    end: int
    siblings: Siblings

    @property
    def leaf(self) -> str:
        """The last word that says something; of a list of bare convolutions the list's."""
        if self.end:
            return self.words[self.end - 1]
        around = self.container.rpartition(".")[2]
        return around if "conv" in around else ""

    @property
    def above(self) -> Sequence[str]:
        """The words before it, the list's first."""
        return (self.container.rpartition(".")[2], *self.words[: max(self.end - 1, 0)])

    @property
    def number(self) -> str:
        """The number behind it, if one follows."""
        return next((word for word in self.words[self.end : self.end + 1] if word.isdecimal()), "")

    @cached_property
    def beside(self) -> set[str]:
        """What stands where that word does."""
        return self.siblings.beside(self.words[: self.end])
