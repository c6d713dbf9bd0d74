"""A fine-tune with some recipes under other names, and all that it says of them likewise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ftdiff.deltas.recipes import Recipe, Tuned


def under(tuned: Tuned, names: Mapping[str, str], made: Mapping[str, Recipe]) -> Tuned:
    """Return a fine-tune whose recipes have the base's names.

    Parameters
    ----------
    tuned
        The fine-tune.
    names
        New names by old ones; several may become one.
    made
        Recipes by their new names; those that are not here stay as they are.
    """
    recipes: dict[str, Recipe] = {}
    for name, recipe in tuned.recipes.items():
        new = names.get(name, name)
        recipes[new] = made.get(new, recipe) if name in names else recipe
    origins: dict[str, dict[str, None]] = {}
    for name, origin in tuned.scalings.items():
        origins.setdefault(names.get(name, name), {})[origin] = None
    found = tuned.respelled(names)
    return replace(
        found,
        recipes=recipes,
        scalings={name: "; ".join(told) for name, told in origins.items()},
        unmatched={name: why for name, why in tuned.unmatched.items() if name not in names},
        lost={name: why for name, why in tuned.lost.items() if name not in names},
        spelled=tuned.spelled,
    )
