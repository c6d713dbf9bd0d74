"""What a path is: a model, an adapter, or both in one folder; every command asks here."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ftdiff.adapters import single_file, unmerged
from ftdiff.adapters.families import ADAPTERS, AdapterFiles
from ftdiff.adapters.peft import folder as peft
from ftdiff.formats import adapter_in, model_in
from ftdiff.formats.place import Place, find


@dataclass(frozen=True)
class Identity:
    """What lies at a path.

    Attributes
    ----------
    path
        The path.
    model
        The file, or the index, of a whole model's weights, where there is one.
    adapter
        Who reads the adapter that lies there; None where there is none.
    """

    path: Place
    model: Place | None = None
    adapter: AdapterFiles | None = None

    @property
    def both(self) -> bool:
        """Whether a model and an adapter lie in one folder."""
        return self.model is not None and self.adapter is not None


def identify(path: str | os.PathLike[str] | Place) -> Identity:
    """Say what a path is, from names and small files alone.

    A folder with the weights of a whole model is that model's, whatever else lies in it; an adapter
    beside them is named. A checkpoint in which a model's weights lie beside the factors that are to
    be added to them is a model, unless its folder's configuration is an adapter's.

    Raises
    ------
    BadFile
        There is nothing, or the path is empty.
    """
    place = find(path)
    model = model_in(place) if place.is_dir() else None
    if not peft.recognises(place) and unmerged.holds(single_file.names(place)):
        return Identity(place, model or single_file.find(place))
    families = (known for known in ADAPTERS.values() if known.recognises(place))
    family = next(families, None)
    if family is None or (model is not None and not _has_adapter(place)):
        return Identity(place, model or place)
    return Identity(place, model, family)


def _has_adapter(folder: Place) -> bool:
    """Say whether an adapter's weights lie in a folder: its configuration alone is no adapter."""
    return adapter_in(folder) is not None or (folder / peft.PICKLE).is_file()
