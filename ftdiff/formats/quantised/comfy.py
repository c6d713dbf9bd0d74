"""ComfyUI's scaled checkpoints, old and new.

The old ones have `scale_weight` beside a float-8 weight, and an empty `scaled_fp8` that says so.
The new ones name a format for each module: JSON in a tensor `comfy_quant`, or
`_quantization_metadata` in the header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.formats.checkpoint import parse_json
from ftdiff.formats.quantised.blocks import Blocks
from ftdiff.formats.quantised.codes import Bytes, Nibbles
from ftdiff.formats.quantised.compressed import whole_numbers
from ftdiff.formats.quantised.described import Told, expect, whole
from ftdiff.formats.quantised.float4 import is_one, of_runs
from ftdiff.formats.quantised.float8 import scaled
from ftdiff.formats.quantised.scales import Tiled, as_bytes
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.tensors import LazyTensor, numel

OWNER = "ComfyUI"
MARKER = "scaled_fp8"
_METADATA = "_quantization_metadata"
_OLD = ("scale_weight", "scale_input")
_NEW = ("comfy_quant", "weight_scale", "weight_scale_2", "input_scale", "pre_quant_scale")
_LONGEST = 1 << 16
_FLOAT8 = {"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}
#: Of the formats of whole blocks and rows: what they say is told by the scales' shape too.
_ENDINGS = ("_rowwise", "_blockwise")


def claims(tensors: Mapping[str, LazyTensor], told: Told) -> Mapping[str, tuple[str, ...]]:
    """Return the weights that an old scale or a new format lies beside, and the marks."""
    layers = _layers(told)
    marks = tuple(name for name in tensors if name.rpartition(".")[2] == MARKER)
    found = {}
    for name in tensors:
        module, _, last = name.rpartition(".")
        weight = tensors.get(f"{module}.weight")
        if last == "scale_weight" and weight is not None and weight.dtype.startswith("F8"):
            found[f"{module}.weight"] = (*(f"{module}.{part}" for part in _OLD), *marks)
        elif last == "weight" and (f"{module}.comfy_quant" in tensors or module in layers):
            found[name] = tuple(f"{module}.{part}" for part in _NEW)
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], told: Told) -> Quantised:
    """Resolve one module.

    Raises
    ------
    BadFile
        Its format is not known, or its parts do not fit.
    """
    module = name.removesuffix(".weight")
    packed = _weight(tensors, module)
    old = tensors.get(f"{module}.scale_weight")
    if old is not None:
        return _dtyped(scaled(packed, old, f"{module}.scale_weight", Told(), packed.dtype), told)
    if f"{module}.pre_quant_scale" in tensors:
        raise BadFile("its inputs are scaled before it (pre_quant_scale), which is not read here")
    layer = _layer(module, tensors, told)
    kind = str(layer.get("format"))[:40]
    params = layer.get("params")
    turns = [one for one in (layer, params) if isinstance(one, dict) and one.get("convrot")]
    if turns:
        raise BadFile(f"its inputs are rotated before it ({kind}, convrot), which is not read here")
    return _dtyped(_read(module, packed, kind, layer, tensors), told)


def _read(
    module: str,
    packed: LazyTensor,
    kind: str,
    layer: Mapping[str, Any],
    tensors: Mapping[str, LazyTensor],
) -> Quantised:
    name = f"{module}.weight_scale"
    if name not in tensors:
        raise BadFile(f"{name} is missing")
    scale = as_bytes(tensors[name])
    size = layer.get("group_size")
    block = {} if size is None else {"weight_block_size": [whole(size, "its group_size")] * 2}
    blocks = Told({"quantization_config": block})
    plain = kind
    for ending in _ENDINGS:
        plain = plain.removesuffix(ending)
    if plain in _FLOAT8:
        expect({module: packed}, module, None, (_FLOAT8[plain], "U8"))
        return scaled(packed, scale, name, blocks, _FLOAT8[plain])
    if kind in ("int8_tensorwise", "int8_blockwise"):
        expect({module: packed}, module, None, ("I8",))
        return whole_numbers(packed, scale, None, blocks)
    if kind in ("nvfp4", "mxfp8"):
        return _tiled(module, packed, scale, kind, tensors)
    raise BadFile(f"ComfyUI's format {kind} is not read here")


def _tiled(
    module: str,
    packed: LazyTensor,
    scale: LazyTensor,
    kind: str,
    tensors: Mapping[str, LazyTensor],
) -> Quantised:
    """Return a weight whose scales lie as tensor cores take them, its nibbles high ones first."""
    four = kind == "nvfp4"
    if len(packed.shape) != 2 or packed.dtype not in (("U8",) if four else ("F8_E4M3", "U8")):
        raise BadFile(f"{packed.dtype} {list(packed.shape)} is no matrix of {kind}")
    shape, run = (packed.shape[0], packed.shape[1] * (2 if four else 1)), 16 if four else 32
    across = shape[1] // run
    filled = -(-shape[0] // 128) * 128 * -(-across // 4) * 4
    if shape[1] % run or numel(scale.shape) != filled:
        raise BadFile(f"scales {list(scale.shape)} are no tiles of {list(shape)} in runs of {run}")
    if scale.dtype not in ("U8", "F8_E4M3" if four else "U8"):
        raise BadFile(f"{module}.weight_scale is {scale.dtype}")
    if not four:
        packing = Blocks(shape, shape[1], run, Bytes(packed), "F8_E4M3", Tiled(scale, across, "U8"))
        return Quantised(packing, "MXFP8", "F32")
    both = is_one(expect(tensors, f"{module}.weight_scale_2", None, ("F32",)))
    scales = Tiled(scale, across, "F8_E4M3", both)
    return of_runs(shape, Nibbles(packed, True), scales, "NVFP4", "F32", run)


def _weight(tensors: Mapping[str, LazyTensor], module: str) -> LazyTensor:
    return expect(tensors, f"{module}.weight", None, ("F8_E4M3", "F8_E5M2", "I8", "U8"))


def _dtyped(found: Quantised, told: Told) -> Quantised:
    """Return it in the dtype of the model's configuration; ComfyUI's files have none: float32."""
    return replace(found, dtype=told.dtype)


def _layers(told: Told) -> Mapping[str, Any]:
    try:
        found = parse_json(told.metadata.get(_METADATA, "{}"))
    except (ValueError, RecursionError):
        return {}
    layers = found.get("layers") if isinstance(found, dict) else None
    return layers if isinstance(layers, dict) else {}


def _layer(module: str, tensors: Mapping[str, LazyTensor], told: Told) -> Mapping[str, Any]:
    name = f"{module}.comfy_quant"
    found: Any = _layers(told).get(module)
    if name in tensors:
        held = expect(tensors, name, None, ("U8",))
        if len(held.shape) != 1 or held.shape[0] > _LONGEST:
            raise BadFile(f"{name} is no description: its shape is {list(held.shape)}")
        try:
            found = parse_json(held.read().tobytes().decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise BadFile(f"{name} is not valid JSON ({error})") from error
    if isinstance(found, str):
        return {"format": found}
    if not isinstance(found, dict):
        raise BadFile(f"{name} is not a JSON object")
    return found
