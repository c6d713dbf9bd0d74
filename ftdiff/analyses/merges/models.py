"""The merged model and what it may be made of, opened and lined up; no weight is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftdiff.adapters import open_model
from ftdiff.analyses.pairwise import Lineup, labels, line_up
from ftdiff.errors import BadCall
from ftdiff.formats import Checkpoint


@dataclass(frozen=True)
class Models:
    """All models of one question, side by side.

    Attributes
    ----------
    merged, parents
        Opened.
    names
        A short name for each parent.
    lineup
        A line for each tensor; its first recipe is the merged model's, and its base that of all or,
        without one, the first parent's tensor.
    with_base
        Whether there is a base.
    """

    merged: Checkpoint
    parents: tuple[Checkpoint, ...]
    names: tuple[str, ...]
    lineup: Lineup
    with_base: bool

    @classmethod
    def opened(cls, merged: Any, parents: Sequence[Any], base: Any | None) -> Models:
        """Open all of them.

        Raises
        ------
        BadCall
            There are too few parents, or one of the models is an adapter.
        BadFile, Mismatch
            One of them cannot be opened, or has no tensor that the others have.
        """
        least = 1 if base is not None else 2
        if len(parents) < least:
            few = "a parent is" if least == 1 else "without a base, two parents are"
            raise BadCall(f"{len(parents)} given: at least {few} needed")
        whole, *others = (open_model(one) for one in (merged, *parents))
        if base is None:
            lineup = line_up(others[0], [whole, *others[1:]])
        else:
            lineup = line_up(open_model(base), [whole, *others])
        names = labels([one.source for one in others])
        return cls(whole, tuple(others), tuple(names), lineup, base is not None)
