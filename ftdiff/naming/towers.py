"""Which part of a pipeline a name is of, by the words in front: `dialects/towers.toml`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache

from ftdiff.naming.dialect_tables import tables


def tower_of(name: str) -> str:
    """Return the part of a pipeline that a name says it belongs to; "" where it says nothing.

    >>> tower_of("text_encoder_2.text_model.final_layer_norm.weight"), tower_of("lm_head.weight")
    ('text_2', '')
    """
    return _cut(name)[0]


def below_tower(name: str) -> str:
    """Return a name without the words of its part of a pipeline.

    >>> below_tower("model.diffusion_model.patch_embedding.weight")
    'patch_embedding.weight'
    """
    return _cut(name)[1]


def _cut(name: str) -> tuple[str, str]:
    for tower, words in prefixes().get(name.partition(".")[0], {}).items():
        for prefix in words:
            # a language model's own wrapper has the same name
            if prefix != "transformer" and name.startswith(f"{prefix}."):
                return tower, name[len(prefix) + 1 :]
    return "", name


def same_tower(name: str, other: str) -> bool:
    """Say whether two names are not known to be of different parts of a pipeline."""
    return len({tower_of(name), tower_of(other)} - {""}) < 2


@cache
def read_towers() -> Mapping[str, Sequence[str]]:
    """Read the names of pipelines' parts."""
    towers: Mapping[str, Sequence[str]] = tables()["towers"]
    return towers


@cache
def prefixes() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Return the towers and their prefixes by the prefixes' first word."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for tower, words in read_towers().items():
        for prefix in words:
            found[prefix.partition(".")[0]][tower].append(prefix)
    return found
