"""What a model's configuration says of it that sentences are made of, read and kept in a diff."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftdiff.comparison.saved_numbers import is_count
from ftdiff.formats.ties import says_tied

_COUNTS = ("num_hidden_layers", "vocab_size")


def read(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model's type, its counts, and whether it is tied, where they are said.

    >>> read({"model_type": "llama", "vocab_size": "many", "num_hidden_layers": 2})
    {'model_type': 'llama', 'num_hidden_layers': 2}
    """
    kind, ties = config.get("model_type"), says_tied(config)
    told: dict[str, Any] = {"model_type": kind} if isinstance(kind, str) else {}
    told |= {name: config[name] for name in _COUNTS if is_count(config.get(name))}
    return told if ties is None else {**told, "tie_word_embeddings": ties}


def are_facts(held: Any) -> bool:
    """Say whether these may have been read from a configuration.

    >>> are_facts({"vocab_size": 8}), are_facts({"vocab_size": "8"}), are_facts(8)
    (True, False, False)
    """
    if not isinstance(held, dict) or not isinstance(held.get("model_type", ""), str):
        return False
    return all(is_count(held[name]) for name in _COUNTS if name in held)
