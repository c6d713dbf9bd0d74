"""A PEFT type whose change follows from its file by a formula: one row of the table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft import tensors
from ftdiff.errors import BadAdapter


def among(*parts: str) -> Callable[[str], tuple[str, str] | None]:
    """Return how a type's keys are split whose parts have these names.

    >>> among("ia3_l")("layers.0.k_proj.ia3_l")
    ('layers.0.k_proj', 'ia3_l')
    """
    return partial(tensors.split, parts=parts)


def accept(config: Mapping[str, Any], /) -> None:
    """Accept every configuration: none changes the formula, or the saved tensors tell which do."""


@dataclass(frozen=True)
class ClosedForm:
    """A `Family` of which a name, the names of its keys, and a formula are all that there is.

    Attributes
    ----------
    name
        The kind's short name: ia3, vera, ….
    split
        Returns the module path and the part of one of the type's keys; None for another.
    reader
        Turns one module's tensors into recipes; what it raises as `BadAdapter` becomes the reason
        why that module is unreadable, and the other modules are read.
    check
        Raises for a configuration whose change the formula does not give.
    shared
        Tensors that all modules use, by their names without "base_model.".
    """

    name: str
    split: Callable[[str], tuple[str, str] | None]
    reader: Callable[[Module], Reading]
    check: Callable[[Mapping[str, Any]], None] = accept
    shared: tuple[str, ...] = ()

    def kind(self, config: Mapping[str, Any], /) -> str:
        """Return the kind's short name, whatever the configuration."""
        return self.name

    def read(self, module: Module, /) -> Reading:
        """Return the recipes of a module's tensors."""
        try:
            return self.reader(module)
        except BadAdapter as error:
            return tensors.unreadable(module, str(error))
