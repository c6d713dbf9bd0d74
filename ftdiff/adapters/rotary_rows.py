"""How many heads the rows of q and k are, by a model's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def heads(config: Mapping[str, Any], leaf: str, rows: int) -> int | None:
    """Return how many heads the rows of q or k are, from a model's configuration.

    Parameters
    ----------
    config
        `config.json` of the base.
    leaf
        "q_proj" or "k_proj".
    rows
        The rows of the projection; a count that does not divide them is not believed.
    """
    inner = config.get("text_config")
    told: Mapping[str, Any] = inner if isinstance(inner, dict) else config
    count = told.get("num_attention_heads")
    if leaf == "k_proj":
        count = told.get("num_key_value_heads") or count
    if not isinstance(count, int) or isinstance(count, bool) or count < 1 or rows % (2 * count):
        return None
    return count
