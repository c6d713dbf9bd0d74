"""What moved beside low-rank factors, and an adapter can hold whole: PEFT's `modules_to_save`."""

from __future__ import annotations

from collections.abc import Sequence

from ftdiff.analyses.recovery.matrix import APART, FULL, Pair, Part, Seen
from ftdiff.formats import Checkpoint
from ftdiff.naming import locate
from ftdiff.tensors import is_quantised, precision


def copied(seen: Sequence[Seen], parts: Sequence[Part], base: Checkpoint) -> list[Pair]:
    """Return the tensors that are saved whole: of modules without factors, and in one piece.

    The bias of a module with factors is none: under `bias="lora_only"` PEFT writes no bias, nor
    reads one under the module's own key.
    Nor is an embedding that is the head too: a copy would be that of the embedding alone.
    """
    held = {_module(part.pair.name) for part in parts}
    moved = [one.pair for one in seen if one.kind in (FULL, APART)]
    heads = any(a.component.startswith("head.") for a in locate([*base.tensors]).values())
    tied = not heads and _makes_text(base)
    return [
        pair
        for pair in moved
        if _module(pair.name) not in held
        and pair.name.rpartition(".")[2] in ("weight", "bias")
        and len(pair.base.shape) in (1, 2, 4)
        and pair.base.shape == pair.merged.shape
        and not (is_quantised(pair.base) or is_quantised(pair.merged))
        and precision(pair.merged.dtype) is not None
        and not (tied and pair.address.component == "embed.tokens")
    ]


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _makes_text(base: Checkpoint) -> bool:
    """Say whether the model has a head, stored or not."""
    classes = base.config.get("architectures") or []
    named = isinstance(classes, list) and any("LM" in str(one) for one in classes)
    return bool(base.config.get("tie_word_embeddings", named))
