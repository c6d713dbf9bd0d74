"""bitsandbytes in eight bits: a row of whole numbers shares its largest absolute value, `SCB`."""

from __future__ import annotations

from collections.abc import Mapping

from ftdiff.errors import BadFile
from ftdiff.formats.quantised.blocks import Blocks
from ftdiff.formats.quantised.codes import Bytes
from ftdiff.formats.quantised.described import Told, expect
from ftdiff.formats.quantised.scales import Scales
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.tensors import LazyTensor, numel

OWNER = "bitsandbytes"


def claims(tensors: Mapping[str, LazyTensor], told: Told) -> Mapping[str, tuple[str, ...]]:
    """Return the weights that an `SCB` lies beside."""
    found = {}
    for name in tensors:
        module, _, last = name.rpartition(".")
        if last == "SCB" and f"{module}.weight" in tensors:
            found[f"{module}.weight"] = (name, f"{module}.weight_format")
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], told: Told) -> Quantised:
    """Resolve one weight.

    Raises
    ------
    BadFile
        It is not stored as bytes, or has not one scale for each row.
    """
    packed = expect(tensors, name, None, ("I8",))
    scale = f"{name.removesuffix('weight')}SCB"
    if not packed.shape:
        raise BadFile("it is a scalar, which has no rows")
    rows, width = packed.shape[0], numel(packed.shape[1:])
    maxima = expect(tensors, scale, (rows,), ("F32", "F16"))
    packing = Blocks(
        packed.shape, width, width, Bytes(packed), "I8", Scales(maxima, 1, 1), unit=1 / 127
    )
    return Quantised(packing, "INT8", told.dtype)
