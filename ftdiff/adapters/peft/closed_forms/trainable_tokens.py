"""Trainable tokens as a type of its own: single rows of an embedding are replaced."""

from __future__ import annotations

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft.closed_form import ClosedForm, among
from ftdiff.adapters.peft.closed_forms.token_rows import token_rows

_PART = "trainable_tokens_delta"


def read(module: Module) -> Reading:
    """Return the recipe of an embedding, and of the head where the model ties it to that."""
    rows = module.tensors[_PART]
    made = token_rows(module, rows, "token_indices")
    head = module.target.find("lm_head.weight")
    if head is None or module.target.config.get("tie_word_embeddings") is not True:
        return made
    tied = Module("lm_head", {_PART: rows}, module.config, module.target)
    return Reading({**token_rows(tied, rows, "token_indices").recipes, **made.recipes})


FORM = ClosedForm("trainable_tokens", among(_PART), read)
