"""What a single file's own header says of its scale: α and rank, under the keys of many tools.

The trainer knew; loaders differ in what they read. sglang takes `lora_alpha`, `network_alpha` and
`alpha`, diffusers `alpha` for some models and the JSON of `lora_adapter_metadata` for all, ComfyUI
and sd-scripts the alphas that are tensors, and nothing of the header.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ftdiff.adapters.family import ORIGIN
from ftdiff.formats.checkpoint import read_json
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place

#: Where diffusers keeps the LoRA configuration of every component, as JSON.
METADATA = "lora_adapter_metadata"
#: How a LoRA's configuration is called that lies beside its file.
CONFIG = "adapter_config.json"
#: How a scale's origin is called that is in no configuration file.
HEADER = "the file's header"
#: Keys of α, the most telling first; a component may stand before each (`transformer.lora_alpha`).
_ALPHAS = ("lora_alpha", "network_alpha", "alpha")
_RANKS = ("r", "rank", "network_dim", "lora_rank", "dim")
#: What sd-scripts and those that follow it write of a training, and never read back.
_OF_SCRIPTS = ("ss_network_alpha", "ss_network_dim")
_LOADERS = "ComfyUI and sd-scripts read no α from a header, diffusers for some models only"


@dataclass(frozen=True)
class Told:
    """What a header says.

    Attributes
    ----------
    alpha, key
        α, and the key that it stands under.
    others
        Other keys with another α.
    rank
        The rank, where one is named.
    """

    alpha: float
    key: str
    others: tuple[str, ...] = ()
    rank: float | None = None

    @property
    def config(self) -> dict[str, Any]:
        """A LoRA's configuration that says the same."""
        return {"peft_type": "LORA", "lora_alpha": self.alpha, ORIGIN: HEADER}


def alpha_of(metadata: Mapping[str, str], component: str = "") -> Told | None:
    """Return the α of a header that a loader may read; None where there is none.

    Parameters
    ----------
    metadata
        The header's own.
    component
        Whose it should be, where components have one each.

    Examples
    --------
    >>> alpha_of({"transformer.lora_alpha": "8", "transformer.r": "16"}, "transformer")
    Told(alpha=8.0, key='transformer.lora_alpha', others=(), rank=16.0)
    >>> alpha_of({"alpha": "none"}) is None
    True
    """
    found = {key: value for key in _keys(metadata, _ALPHAS, component)
             if (value := _number(metadata[key])) is not None}  # fmt: skip
    if not found:
        return None
    key, alpha = next(iter(found.items()))
    others = tuple(other for other, value in found.items() if value != alpha)
    ranks = (_number(metadata[name]) for name in _keys(metadata, _RANKS, component))
    return Told(alpha, key, others, next((rank for rank in ranks if rank is not None), None))


def of_scripts(metadata: Mapping[str, str]) -> Told | None:
    """Return the α that sd-scripts wrote of a training; None where there is none."""
    alpha = _number(metadata.get(_OF_SCRIPTS[0], ""))
    if alpha is None:
        return None
    return Told(alpha, _OF_SCRIPTS[0], rank=_number(metadata.get(_OF_SCRIPTS[1], "")))


def beside(file: Place) -> dict[str, Any]:
    """Return the LoRA configuration that lies beside a file; {} where there is none.

    Raises
    ------
    BadFile
        It is no JSON.
    """
    path = file.parent / CONFIG
    return read_json(path) if path.is_file() else {}


def of_json(metadata: Mapping[str, str]) -> Told | None:
    """Return the α of diffusers' own JSON in a header; None where there is none.

    >>> of_json({"lora_adapter_metadata": '{"unet.lora_alpha": 8}'}).alpha
    8.0
    """
    try:
        held = json.loads(metadata.get(METADATA, "{}"))
    except (ValueError, RecursionError):
        return None
    found = alpha_of(held) if isinstance(held, dict) else None
    return None if found is None else replace(found, key=f"{METADATA}: {found.key}")


def contradicted(
    metadata: Mapping[str, str], config: Mapping[str, Any], where: str = f"{CONFIG} beside it"
) -> tuple[Note, ...]:
    """Say where a header has another α than the configuration that is used."""
    told, alpha = alpha_of(metadata), config.get("lora_alpha")
    if told is None or not isinstance(alpha, int | float) or alpha == told.alpha:
        return ()
    return (unused(told, f"{where} says {alpha:g}"),)


def used(told: Told, ranks: Iterable[int]) -> tuple[Note, ...]:
    """Say that the header's α was used, and who reads it otherwise."""
    sizes = sorted({*ranks})
    shown = ", ".join(f"{told.alpha / rank:.4g}" for rank in sizes if rank) or "α/r"
    text = (
        f"α = {told.alpha:g} is from {HEADER} ({told.key}): scale {shown}; {_LOADERS}, and scale "
        "by 1 there"
    )
    notes = [Note("alpha-in-header", text, key=told.key, alpha=told.alpha, ranks=sizes)]
    if told.others:
        text = f"{HEADER} has another α under {', '.join(told.others)}; that of {told.key} is used"
        notes.append(Note("alphas-differ", text, used=told.key, others=list(told.others)))
    if len(sizes) > 1:
        listed = ", ".join(map(str, sizes))
        text = f"one α = {told.alpha:g} for factors of ranks {listed}: each is divided by its own"
        notes.append(Note("ranks-differ", text, alpha=told.alpha, ranks=sizes))
    return tuple(notes)


def unused(told: Told, why: str) -> Note:
    """Say that the header has an α which was not used, and why."""
    text = f"{HEADER} says α = {told.alpha:g} ({told.key}), which is not used: {why}"
    return Note("alpha-unused", text, key=told.key, alpha=told.alpha, why=why)


def rank_note(told: Told, ranks: Iterable[int]) -> tuple[Note, ...]:
    """Say where the header names a rank that no factor has."""
    sizes = sorted({*ranks})
    if told.rank is None or not sizes or told.rank in sizes:
        return ()
    listed = ", ".join(map(str, sizes))
    text = f"factors of rank {listed} where {HEADER} says {told.rank:g}: the factors' own is used"
    return (Note("rank-differs", text, rank=sizes, configured=told.rank),)


def _keys(metadata: Mapping[str, str], wanted: tuple[str, ...], component: str) -> list[str]:
    """Return the keys of a header, the component's own first, then those of none, then others."""
    own = [f"{component}.{key}" for key in wanted if component]
    plain = [key for key in wanted if key in metadata]
    found = [key for key in own if key in metadata] + plain
    ends = [key for word in wanted for key in metadata if key.endswith(f".{word}")]
    return list(dict.fromkeys([*found, *(() if component and found else ends)]))


def _number(text: Any) -> float | None:
    if isinstance(text, bool):
        return None
    try:
        value = float(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None
