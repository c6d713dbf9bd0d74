"""Many adapters of one configuration and one list of keys: the first is planned, the others follow.

What an adapter's tensors become depends on names, shapes and numbers alone, so that those of
another one take their places.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ftdiff.adapters import header
from ftdiff.adapters.account import by_key
from ftdiff.adapters.company import also
from ftdiff.adapters.identity import Identity, identify
from ftdiff.adapters.opening import Source, open_tuned
from ftdiff.adapters.peft import folder as peft
from ftdiff.deltas.recipes import Added, Product, Recipe, Tuned
from ftdiff.errors import FtdiffError
from ftdiff.formats import Checkpoint
from ftdiff.formats.checkpoint import read_json
from ftdiff.formats.place import Place


@dataclass(frozen=True)
class Several:
    """Fine-tunes, opened.

    Attributes
    ----------
    tuned
        In the order given.
    like
        Of each the first one that differs from it in nothing but what its tensors hold: its own
        number where none before it does.
    """

    tuned: tuple[Tuned, ...]
    like: tuple[int, ...]


def open_several(sources: Sequence[Source], base: Checkpoint | None) -> Several:
    """Open fine-tunes of one base; see `open_tuned`, which they are opened by."""
    firsts: list[tuple[int, _First]] = []
    tuned: list[Tuned] = []
    like: list[int] = []
    for number, source in enumerate(sources):
        files = _files(source)
        known = () if files is None else ((of, first.another(files)) for of, first in firsts)
        of, found = next(((of, one) for of, one in known if one is not None), (number, None))
        if found is None:
            found = open_tuned(source, base)
            if files is not None and files.is_plain and is_moved(found.recipes, found):
                firsts.append((number, _First(found, files)))
        tuned.append(found)
        like.append(of)
    return Several(tuple(tuned), tuple(like))


@dataclass(frozen=True)
class _Files:
    """One of PEFT's folders, read but not understood."""

    identity: Identity
    config: Mapping[str, Any]
    opened: Checkpoint
    said: bool

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to say of the files themselves."""
        return not self.said

    @property
    def keys(self) -> list[tuple[str, tuple[int, ...], str]]:
        """Names, shapes and dtypes."""
        return [(key, t.shape, t.dtype) for key, t in self.opened.tensors.items()]


def _files(source: Source) -> _Files | None:
    """Read a folder's configuration and header; None for what is none of PEFT's."""
    if not isinstance(source, str | os.PathLike | Place):
        return None
    try:
        found = identify(source)
        if found.model is not None or found.adapter is None or not peft.recognises(found.path):
            return None
        config = read_json(found.path.home / peft.CONFIG)
        opened = peft.open_weights(found.path)
    except FtdiffError:  # whoever opens it says what is wrong
        return None
    said = bool(opened.notes or header.contradicted(opened.metadata, config))
    return _Files(found, config, opened, said)


class _First:
    """An adapter that was opened, and what others have to have in common with it."""

    def __init__(self, tuned: Tuned, files: _Files) -> None:
        self._tuned, self._config, self._keys = tuned, files.config, files.keys
        self._own = len([*also(files.identity, tuned)])

    def another(self, files: _Files) -> Tuned | None:
        """Return the fine-tune that other files hold; None where they differ in more."""
        if not files.is_plain or files.config != self._config or files.keys != self._keys:
            return None
        notes = self._tuned.notes[: len(self._tuned.notes) - self._own]
        found = replace(
            self._tuned,
            recipes=moved(self._tuned.recipes, self._tuned, files.opened),
            source=str(files.identity.path),
            config=files.config,
            files=files.opened.files,
            given=files.opened.tensors,
            notes=notes,
        )
        return replace(found, notes=(*notes, *also(files.identity, found)))


def is_moved(recipes: Mapping[str, Recipe], tuned: Tuned) -> bool:
    """Say whether recipes are products of two whole tensors of a fine-tune's files, and no more."""
    keys = by_key(tuned.given)
    return all(
        isinstance(recipe, Added)
        and isinstance(recipe.maker, Product)
        and {id(recipe.maker.A), id(recipe.maker.B)} <= keys.keys()
        for recipe in recipes.values()
    )


def moved(
    recipes: Mapping[str, Recipe], tuned: Tuned, opened: Checkpoint | Tuned
) -> dict[str, Recipe]:
    """Return recipes of which `is_moved` holds, of another file's tensors."""
    keys = by_key(tuned.given)
    tensors = opened.given if isinstance(opened, Tuned) else opened.tensors
    found: dict[str, Recipe] = {}
    for name, recipe in recipes.items():
        assert isinstance(recipe, Added) and isinstance(recipe.maker, Product)
        A, B = (tensors[keys[id(side)]] for side in (recipe.maker.A, recipe.maker.B))
        found[name] = replace(recipe, maker=replace(recipe.maker, A=A, B=B))
    return found
