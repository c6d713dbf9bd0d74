"""Quantised checkpoints at the door: packed tensors become lazy ones that dequantise as they read.

What holds of all schemes: a weight is stored as codes, each of which stands for a level, times a
scale that it shares with its block. Siblings that hold levels and scales are no tensors of the
model; a scheme that finds them takes them out of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from ftdiff.errors import BadFile, FtdiffError
from ftdiff.formats.checkpoint import Checkpoint
from ftdiff.formats.note import Note
from ftdiff.formats.quantised import (
    bits4,
    bits8,
    comfy,
    compressed,
    float4,
    float8,
    integers,
    mlx,
    mxfp4,
    torchao,
)
from ftdiff.formats.quantised.described import Told
from ftdiff.formats.quantised.refusals import refusal, refuse_method, unclaimed
from ftdiff.formats.quantised.tensor import Broken, Quantised
from ftdiff.registry import Registry
from ftdiff.tensors import LazyTensor

__all__ = ["SCHEMES", "Broken", "Quantised", "Scheme", "dequantising"]


class Scheme(Protocol):
    """What a way to store weights in few bits answers."""

    #: Whose it is, for the notes.
    OWNER: str

    def claims(
        self, tensors: Mapping[str, LazyTensor], told: Told
    ) -> Mapping[str, tuple[str, ...]]:
        """Return the names of weights that are stored this way, and the siblings of each."""

    def open_(self, name: str, tensors: Mapping[str, LazyTensor], told: Told) -> Quantised:
        """Resolve one weight; only its description may be read.

        Raises
        ------
        BadFile
            Its siblings contradict it or each other.
        """


#: Asked in this order; what one takes, the next do not see.
SCHEMES: Registry[Scheme] = Registry(
    "quantisation scheme",
    {
        "4 bits": bits4,
        "8 bits": bits8,
        "ComfyUI": comfy,
        "compressed-tensors": compressed,
        "MXFP4 experts": mxfp4,
        "float 4": float4,
        "float 8": float8,
        "integers": integers,
        "MLX": mlx,
        "torchao": torchao,
    },
)
#: What `quant_method` may say of a checkpoint whose weights the schemes read.
READ = (
    *("bitsandbytes", "gptq", "awq", "auto-round", "compressed-tensors", "fp8", "fbgemm_fp8"),
    *("mxfp4", "mxfp8", "nvfp4", "modelopt", "torchao"),
)


def dequantising(checkpoint: Checkpoint) -> Checkpoint:
    """Return the same checkpoint with weights that are stored quantised as lazy floats.

    A weight whose siblings contradict it is a `Broken` tensor, which says so when it is read; the
    rest is kept. Notes say what was dequantised, and to what.
    """
    tensors = dict(checkpoint.tensors)
    told = Told(checkpoint.config, checkpoint.metadata)
    refuse_method(checkpoint.source, tensors, told)
    made: dict[str, LazyTensor] = {}
    stored: Counter[tuple[str, str, str]] = Counter()
    for scheme in SCHEMES.values():
        for name, siblings in scheme.claims(tensors, told).items():
            try:
                found = scheme.open_(name, tensors, told)
            except FtdiffError as error:
                packed = next(tensors[s] for s in (name, *siblings) if s in tensors)
                reason = f"{checkpoint.source}: {name}: {error}"
                made[name] = Broken(packed.shape, reason, packed.dtype)
            else:
                made[name] = replace(found, place=f"{checkpoint.source}: {name}")
                stored[found.scheme, scheme.OWNER, found.dtype] += 1
            for sibling in siblings:
                tensors.pop(sibling, None)
    made |= _refused(checkpoint.source, tensors, made, told.method_name)
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


def _refused(
    source: str, tensors: dict[str, LazyTensor], claimed: Mapping[str, LazyTensor], method: str
) -> dict[str, LazyTensor]:
    """Return weights of few bits that no scheme read, as what complains, and take their scales.

    Raises
    ------
    BadFile
        There is nothing else: who quantised the checkpoint is not known.
    """
    found = unclaimed(tensors, claimed, method)
    if found and method and not claimed and method not in READ:
        raise BadFile(refusal(source, method))
    made: dict[str, LazyTensor] = {}
    for name, siblings in found.items():
        packed = tensors[name]
        beside = (
            f"beside {siblings[0]}, a scale that is not read here"
            if siblings
            else (f"in a checkpoint that {method} quantised, without a scale that is read here")
        )
        reason = f"{source}: {name}: stored as {packed.dtype} {beside}"
        reason = f"{reason}: the numbers alone are not the weight"
        made[name] = Broken(packed.shape, reason, packed.dtype)
    for sibling in {name for siblings in found.values() for name in siblings}:
        tensors.pop(sibling, None)
    return made
