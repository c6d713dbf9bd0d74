"""MLX: codes in words of 32 along the inputs, and what groups of inputs share.

Affine: W = scale · q + bias. The float modes have no biases, and their scales are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.formats.quantised.blocks import Blocks
from ftdiff.formats.quantised.codes import Bits
from ftdiff.formats.quantised.described import Told, expect, whole
from ftdiff.formats.quantised.scales import Scales
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.tensors import LazyTensor

OWNER = "MLX"
_FLOATS = ("F32", "F16", "BF16")
#: Of each mode without biases: its levels, bits, entries of a group, and what a scale is.
_MODES = {
    "mxfp4": ("E2M1", 4, 32, "U8"),
    "nvfp4": ("E2M1", 4, 16, "F8_E4M3"),
    "mxfp8": ("F8_E4M3", 8, 32, "U8"),
}
_SCHEMES = {"mxfp4": "MXFP4", "nvfp4": "NVFP4", "mxfp8": "MXFP8"}


def claims(tensors: Mapping[str, LazyTensor], told: Told) -> Mapping[str, tuple[str, ...]]:
    """Return the weights of words that `scales` lie beside."""
    found = {}
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        if last == "weight" and tensor.dtype == "U32" and f"{module}.scales" in tensors:
            found[name] = (f"{module}.scales", f"{module}.biases")
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], told: Told) -> Quantised:
    """Resolve one module, by the sizes that the configuration tells of it.

    Raises
    ------
    BadFile
        The configuration does not tell them, or parts do not fit them.
    """
    module = name.removesuffix(".weight")
    packed = expect(tensors, name, None, ("U32",))
    given = _given(module, told)
    mode = given.get("mode", "affine")
    if mode in _MODES:
        return _floats(module, packed, tensors, str(mode), told)
    if mode != "affine":
        raise BadFile(f"MLX's mode {str(mode)[:40]} is not read here")
    bits = whole(given.get("bits"), "bits of config's quantization", 1, 8)
    group = whole(given.get("group_size"), "group_size of config's quantization")
    scales = expect(tensors, f"{module}.scales", None, _FLOATS)
    shape = _fitting(packed, scales, bits, group)
    biases = expect(tensors, f"{module}.biases", scales.shape, _FLOATS)
    across = scales.shape[-1]
    packing = Blocks(
        shape, shape[-1], group, Bits(packed, bits), f"U{bits}", Scales(scales, 1, across),
        offsets=Scales(biases, 1, across),
    )  # fmt: skip
    return Quantised(packing, f"INT{bits}", scales.dtype)


def _floats(
    module: str, packed: LazyTensor, tensors: Mapping[str, LazyTensor], mode: str, told: Told
) -> Quantised:
    table, bits, group, kind = _MODES[mode]
    scales = expect(tensors, f"{module}.scales", None, ("U8",))
    shape = _fitting(packed, scales, bits, group)
    shared = Scales(scales, 1, scales.shape[-1], kind)
    packing = Blocks(shape, shape[-1], group, Bits(packed, bits), table, shared)
    return Quantised(packing, _SCHEMES[mode], told.dtype)


def _fitting(packed: LazyTensor, scales: LazyTensor, bits: int, group: int) -> tuple[int, ...]:
    """Return the weight's shape, by its scales, where the words of a row are as many."""
    if len(packed.shape) < 2 or len(scales.shape) != len(packed.shape):
        raise BadFile(f"words {list(packed.shape)} and scales {list(scales.shape)} are no matrix")
    shape = (*packed.shape[:-1], scales.shape[-1] * group)
    if scales.shape[:-1] != shape[:-1] or packed.shape[-1] * 32 != shape[-1] * bits:
        told = f"{bits} bits in groups of {group}"
        raise BadFile(f"words {list(packed.shape)} and scales {list(scales.shape)} are no {told}")
    return shape


def _given(module: str, told: Told) -> Mapping[str, Any]:
    """Return what the configuration tells of a module, or else of all."""
    found = told.config.get("quantization", told.config.get("quantization_config"))
    given: dict[str, Any] = dict(found) if isinstance(found, dict) else {}
    own = given.get(module)
    return given | own if isinstance(own, dict) else given
