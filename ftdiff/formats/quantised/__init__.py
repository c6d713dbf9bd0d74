"""Quantised checkpoints at the door: packed tensors become lazy ones that dequantise as they read.

What holds of all schemes: a weight is stored as codes, each of which stands for a level, times a
scale that it shares with its block. Siblings that hold levels and scales are no tensors of the
model; a scheme that finds them takes them out of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from ftdiff.errors import FtdiffError
from ftdiff.formats.checkpoint import Checkpoint
from ftdiff.formats.note import Note
from ftdiff.formats.quantised import bits4, bits8, float8, integers
from ftdiff.formats.quantised.tensor import Broken, Quantised
from ftdiff.formats.quantised.unclaimed import beside_scales
from ftdiff.registry import Registry
from ftdiff.tensors import LazyTensor

__all__ = ["SCHEMES", "Broken", "Quantised", "Scheme", "dequantising"]


class Scheme(Protocol):
    """What a way to store weights in few bits answers."""

    #: Whose it is, for the notes.
    OWNER: str

    def claims(
        self, tensors: Mapping[str, LazyTensor], config: Mapping[str, Any]
    ) -> Mapping[str, tuple[str, ...]]:
        """Return the names of weights that are stored this way, and the siblings of each."""

    def open_(
        self, name: str, tensors: Mapping[str, LazyTensor], config: Mapping[str, Any]
    ) -> Quantised:
        """Resolve one weight; only its description may be read.

        Raises
        ------
        BadFile
            Its siblings contradict it or each other.
        """


#: Asked in this order.
SCHEMES: Registry[Scheme] = Registry(
    "quantisation scheme",
    {"4 bits": bits4, "8 bits": bits8, "float 8": float8, "integers": integers},
)


def dequantising(checkpoint: Checkpoint) -> Checkpoint:
    """Return the same checkpoint with weights that are stored quantised as lazy floats.

    A weight whose siblings contradict it is a `Broken` tensor, which says so when it is read; the
    rest is kept. Notes say what was dequantised, and to what.
    """
    tensors = dict(checkpoint.tensors)
    made: dict[str, LazyTensor] = {}
    scales: dict[str, None] = {}
    stored: Counter[tuple[str, str, str]] = Counter()
    for scheme in SCHEMES.values():
        for name, siblings in scheme.claims(tensors, checkpoint.config).items():
            try:
                found = scheme.open_(name, tensors, checkpoint.config)
            except FtdiffError as error:
                packed = next(tensors[s] for s in (name, *siblings) if s in tensors)
                reason = f"{checkpoint.source}: {name}: {error}"
                made[name] = Broken(packed.shape, reason, packed.dtype)
            else:
                made[name] = replace(found, place=f"{checkpoint.source}: {name}")
                stored[found.scheme, scheme.OWNER, found.dtype] += 1
            for sibling in siblings:
                tensors.pop(sibling, None)
    for name, siblings in beside_scales(tensors).items():
        packed = tensors[name]
        reason = (
            f"{checkpoint.source}: {name}: stored as {packed.dtype} beside {siblings[0]}, a scale "
            "that is not read here: the numbers alone are not the weight"
        )
        made[name] = Broken(packed.shape, reason, packed.dtype)
        for sibling in siblings:
            scales.setdefault(sibling)
    for sibling in scales:
        tensors.pop(sibling, None)
    if not made:
        return checkpoint
    kept = {name: made.pop(name, tensor) for name, tensor in tensors.items()} | made
    notes = [
        Note(
            "dequantised",
            f"{checkpoint.source}: {count:,} tensors are stored as {scheme} ({owner}), read "
            f"dequantised to {dtype}",
            tensors=count,
            scheme=scheme,
        )
        for (scheme, owner, dtype), count in stored.items()
    ]
    return replace(checkpoint, tensors=kept, notes=(*checkpoint.notes, *notes))
