"""Names of a whole model that transformers does not find: something was around it when saved."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ftdiff.adapters.loading.keys import WRAPPERS
from ftdiff.naming.model_prefixes import foreign

#: What PEFT puts around a model, and around a module that it trains whole.
_OF_PEFT = ("base_model", "modules_to_save")


def unfound(
    renamed: Mapping[str, str],
    base: Mapping[str, Any],
    tuned: Mapping[str, Any],
    held: Collection[str],
) -> list[str]:
    """Return the names of a model's folder that its class does not have.

    Parameters
    ----------
    renamed
        The base's name by the fine-tune's, where they differ.
    base, tuned
        Configurations; without a model type the fine-tune is no folder of transformers', and has a
        loader of its own. A base of another type has other names.
    held
        All names of the fine-tune under the base's spelling; none where transformers' own renames
        were used, and other words in front may be of another release.

    Examples
    --------
    >>> unfound({"actor.norm.weight": "norm.weight"}, {}, {"model_type": "llama"}, ["norm.weight"])
    ['actor.norm.weight']
    """
    kind = tuned.get("model_type")
    if kind is None:
        return []
    names = {name for name, other in renamed.items() if _wrappers(name) > _wrappers(other)}
    if held and base.get("model_type", kind) == kind:
        names |= {*foreign(renamed, str(kind), held)}
    return [name for name in renamed if name in names]


def _wrappers(name: str) -> int:
    return sum(word in WRAPPERS or word in _OF_PEFT for word in name.split("."))
