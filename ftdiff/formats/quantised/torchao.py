"""torchao's plain layouts, as its tensors are flattened into safetensors: bytes with scales.

A weight's parts are `._weight_qdata`, `._weight_scale`, `._weight_zero_point`; the header's
metadata has the class of each tensor, and the dtype that it stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.formats.checkpoint import parse_json
from ftdiff.formats.quantised.compressed import whole_numbers
from ftdiff.formats.quantised.described import Told, expect, floating
from ftdiff.formats.quantised.float8 import scaled
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.tensors import LazyTensor

OWNER = "torchao"
_DATA = "_qdata"
_PARTS = ("qdata", "scale", "zero_point", "act_pre_scale", "act_scale", "per_tensor_scale")
_WHOLE = ("Int8Tensor", "IntxUnpackedToInt8Tensor")
_FLOATS = ("F32", "F16", "BF16")


def claims(tensors: Mapping[str, LazyTensor], told: Told) -> Mapping[str, tuple[str, ...]]:
    """Return the tensors of which the data are apart."""
    found = {}
    for name in tensors:
        module, _, last = name.rpartition(".")
        if last.startswith("_") and last.endswith(_DATA):
            stem = f"{module}.{last[1:].removesuffix(_DATA)}" if module else last[1 : -len(_DATA)]
            found[stem] = tuple(f"{name.removesuffix('qdata')}{part}" for part in _PARTS)
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], told: Told) -> Quantised:
    """Resolve one tensor.

    Raises
    ------
    BadFile
        It is of a class whose layout is a kernel's own, or its parts do not fit.
    """
    module, dot, last = name.rpartition(".")
    stem = f"{module}{dot}_{last}"
    kind, data = _described(name, told)
    if kind not in (*_WHOLE, "Float8Tensor"):
        raise BadFile(f"torchao's {kind or 'tensor without metadata'} is not read here")
    if f"{stem}_act_pre_scale" in tensors:
        raise BadFile("its inputs are scaled before it (act_pre_scale), which is not read here")
    packed = expect(tensors, f"{stem}_qdata", None, ("I8", "F8_E4M3", "F8_E5M2"))
    scale = expect(tensors, f"{stem}_scale", None, _FLOATS)
    held = data.get("dtype")
    dtype = floating(held.get("_data") if isinstance(held, dict) else held, told.dtype)
    plain = Told(metadata=told.metadata)
    if kind == "Float8Tensor":
        found = scaled(packed, scale, f"{stem}_scale", plain, packed.dtype)
    else:
        zero = tensors.get(f"{stem}_zero_point")
        found = whole_numbers(packed, scale, zero, plain)
    return replace(found, dtype=dtype)


def _described(name: str, told: Told) -> tuple[str, Mapping[str, Any]]:
    """Return the class of a tensor and its attributes, as the metadata has them."""
    try:
        found = parse_json(told.metadata.get(name, "{}"))
    except (ValueError, RecursionError) as error:
        raise BadFile(f"its metadata is not valid JSON ({error})") from error
    if not isinstance(found, dict):
        raise BadFile("its metadata is not a JSON object")
    data = found.get("_data")
    return str(found.get("_type", "")), data if isinstance(data, dict) else {}
