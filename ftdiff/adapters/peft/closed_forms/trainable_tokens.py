"""Trainable tokens as a type of its own: single rows of an embedding are replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft import tensors as parts
from ftdiff.adapters.peft.closed_forms.token_rows import token_rows

_PART = "trainable_tokens_delta"


def check(config: Mapping[str, Any]) -> None:
    """Accept every configuration: indices are checked against the rows that were saved."""


def kind(config: Mapping[str, Any]) -> str:
    """Return "trainable_tokens"."""
    return "trainable_tokens"


def split(name: str) -> tuple[str, str] | None:
    """Return the module path and the part of one of the type's keys; None for another."""
    return parts.split(name, (_PART,))


def read(module: Module) -> Reading:
    """Return the recipe of an embedding, and of the head where the model ties it to that."""
    rows = module.tensors[_PART]
    made = token_rows(module, rows, "token_indices")
    head = module.target.find("lm_head.weight")
    if head is None or module.target.config.get("tie_word_embeddings") is not True:
        return made
    tied = Module("lm_head", {_PART: rows}, module.config, module.target)
    return Reading({**token_rows(tied, rows, "token_indices").recipes, **made.recipes})
