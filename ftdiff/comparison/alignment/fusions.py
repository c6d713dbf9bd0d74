"""Which tensors of one side are made of several of the other, by name and by shape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ftdiff.deltas.recipes import Beside, Recipe, Tuned
from ftdiff.formats import Checkpoint
from ftdiff.naming.fused import splits
from ftdiff.naming.matching import Spellings, pair_names


@dataclass(frozen=True)
class Fusion:
    """A tensor of one side, and its parts on the other.

    Attributes
    ----------
    name
        The fused tensor's.
    called
        What its parts would be called beside it, in the order of the rows.
    parts
        What is there of them; None for one that is not.
    layout
        How the rows lie, as in `naming.fused`.
    """

    name: str
    called: tuple[str, ...]
    parts: tuple[str | None, ...]
    layout: str

    @property
    def there(self) -> tuple[str, ...]:
        """The parts that are there."""
        return tuple(part for part in self.parts if part is not None)


def strangers(base: Checkpoint, tuned: Tuned) -> dict[str, Recipe]:
    """Return the recipes that change no tensor of the base by their name."""
    mine = {n: r for n, r in tuned.recipes.items() if not isinstance(r, Beside)}
    unknown = [name for name in mine if name not in base.tensors]
    if not unknown:
        return {}
    found = pair_names(
        {name: tensor.shape for name, tensor in base.tensors.items()},
        {name: recipe.shape for name, recipe in mine.items()},
    )
    return {name: mine[name] for name in unknown if name not in found}


def fusions(
    fused: Iterable[str],
    parts: Mapping[str, tuple[int, ...]],
    config: Mapping[str, Any],
    *,
    whole: bool,
) -> list[Fusion]:
    """Return the tensors whose parts are on the other side, each part in one of them alone.

    Parameters
    ----------
    fused
        Names of the one side.
    parts
        Shapes by name, of the other.
    config
        That of the model which stores them as one.
    whole
        All parts of a tensor have to be there.
    """
    names = Spellings(parts)
    kind = config.get("model_type")
    model_type = kind if isinstance(kind, str) else ""
    found = []
    for name in fused:
        best: Fusion | None = None
        for split in splits(name, model_type):
            there = tuple(names.find(part) for part in split.parts)
            one = Fusion(name, split.parts, there, split.layout)
            if len({*one.there}) == len(one.there) > (len(best.there) if best else 0):
                best = one
        if best is not None and (not whole or None not in best.parts):
            found.append(best)
    claims: dict[str, int] = defaultdict(int)
    for one in found:
        for part in one.there:
            claims[part] += 1
    return [one for one in found if all(claims[part] == 1 for part in one.there)]
