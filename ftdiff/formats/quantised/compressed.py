"""compressed-tensors (llm-compressor, vLLM): whole numbers, packed or not, and four-bit floats.

`weight_packed` holds whole numbers of some bits, about 2^(bits − 1), in words of 32 along the
inputs; or four-bit floats, two a byte. Scales are of groups of inputs, rows, blocks or the whole
tensor. Float 8 with `weight_scale` is read with all float 8.
"""

from __future__ import annotations

from collections.abc import Mapping

from ftdiff.errors import BadFile
from ftdiff.formats.quantised.blocks import Blocks
from ftdiff.formats.quantised.codes import Bits, Bytes
from ftdiff.formats.quantised.described import Told, expect
from ftdiff.formats.quantised.float4 import float4
from ftdiff.formats.quantised.float8 import block_of
from ftdiff.formats.quantised.scales import PackedZeros, Scales, Shared, as_bytes
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.tensors import LazyTensor, numel

OWNER = "compressed-tensors"
METHOD = "compressed-tensors"
_PARTS = (
    *("weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx"),
    *("weight_global_scale", "input_global_scale", "input_scale", "input_zero_point"),
)
_FLOATS = ("F32", "F16", "BF16")


def claims(tensors: Mapping[str, LazyTensor], told: Told) -> Mapping[str, tuple[str, ...]]:
    """Return the weights of `weight_packed`, and bytes with `weight_scale` where so is said."""
    found = {}
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        plain = last == "weight" and tensor.dtype == "I8" and told.method_name == METHOD
        if last == "weight_packed" or (plain and f"{name}_scale" in tensors):
            found[f"{module}.weight"] = tuple(f"{module}.{part}" for part in _PARTS)
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], told: Told) -> Quantised:
    """Resolve one module.

    Raises
    ------
    BadFile
        Its parts are missing, or do not fit each other.
    """
    if f"{name}_packed" not in tensors:
        return _plain(name, tensors, told)
    packed = expect(tensors, f"{name}_packed", None, ("I32", "U8"))
    if packed.dtype == "U8":
        return _float4(name, packed, tensors, told)
    shape = _shape(name, packed, tensors)
    bits = _bits(packed, shape, told)
    scale = expect(tensors, f"{name}_scale", None, _FLOATS)
    height, width = block_of(shape, scale, told.method)
    across = -(-shape[-1] // max(1, width))
    zeros = _zeros(name, tensors, scale, (height, across), bits, shape[0])
    packing = Blocks(
        shape, shape[-1], width, Bits(packed, bits), f"S{bits}", Scales(scale, height, across),
        zeros, groups=_groups(name, tensors, shape[-1], across),
    )  # fmt: skip
    return Quantised(packing, f"INT{bits}", scale.dtype)


def _plain(name: str, tensors: Mapping[str, LazyTensor], told: Told) -> Quantised:
    packed = expect(tensors, name, None, ("I8",))
    scale = expect(tensors, f"{name}_scale", None, _FLOATS)
    if len(packed.shape) < 2:
        raise BadFile(f"its shape is {list(packed.shape)}: scales are known for matrices only")
    return whole_numbers(packed, scale, tensors.get(f"{name}_zero_point"), told, name, tensors)


def whole_numbers(
    packed: LazyTensor,
    scale: LazyTensor,
    zero: LazyTensor | None,
    told: Told,
    name: str = "",
    tensors: Mapping[str, LazyTensor] | None = None,
) -> Quantised:
    """Return bytes of whole numbers, with scales of groups, rows, blocks or the whole.

    Raises
    ------
    BadFile
        The scales or the zeros do not fit.
    """
    height, width = block_of(packed.shape, scale, told.method)
    across = -(-packed.shape[-1] // max(1, width))
    zeros = None if zero is None else _beside(zero, scale, (height, across))
    packing = Blocks(
        packed.shape, packed.shape[-1], width, Bytes(packed), "I8",
        Scales(scale, height, across), zeros,
        groups=_groups(name, tensors or {}, packed.shape[-1], across),
    )  # fmt: skip
    return Quantised(packing, "INT8", scale.dtype)


def _float4(
    name: str, packed: LazyTensor, tensors: Mapping[str, LazyTensor], told: Told
) -> Quantised:
    scale = as_bytes(expect(tensors, f"{name}_scale", None, ("F8_E4M3", "U8", "F8_E8M0")))
    whole = tensors.get(f"{name}_global_scale")
    if f"{name}_zero_point" in tensors:
        raise BadFile("it has zeros, which are not known of four-bit floats")
    if scale.dtype == "F8_E4M3" and whole is None:
        raise BadFile(f"{name}_global_scale is missing")
    return float4(packed, scale, told.dtype, whole, divided=True)


def _shape(name: str, packed: LazyTensor, tensors: Mapping[str, LazyTensor]) -> tuple[int, ...]:
    held = expect(tensors, f"{name}_shape", None, ("I64", "I32"))
    if numel(held.shape) != len(packed.shape) or len(packed.shape) not in (2, 3):
        raise BadFile(f"{name}_shape has {numel(held.shape)} sides of {len(packed.shape)}")
    shape = tuple(int(side) for side in held.read().reshape(-1))
    if shape[:-1] != packed.shape[:-1] or shape[-1] < 1:
        raise BadFile(f"{name}_shape is {list(shape)}, and what is packed {list(packed.shape)}")
    return shape


def _bits(packed: LazyTensor, shape: tuple[int, ...], told: Told) -> int:
    """Return how many bits fill the words of a row; where several do, those that are told."""
    fits = [b for b in range(1, 9) if -(-shape[-1] * b // 32) == packed.shape[-1]]
    groups = told.method.get("config_groups")
    given = groups.values() if isinstance(groups, dict) else ()
    weights = [one.get("weights") for one in given if isinstance(one, dict)]
    said = {one.get("num_bits") for one in weights if isinstance(one, dict)}
    if len(fits) > 1:
        fits = [bits for bits in fits if bits in said]
    if len(fits) != 1:
        raise BadFile(f"words of {list(packed.shape)} are no {list(shape)} of whole bits")
    return fits[0]


def _zeros(
    name: str,
    tensors: Mapping[str, LazyTensor],
    scale: LazyTensor,
    blocks: tuple[int, int],
    bits: int,
    rows: int,
) -> Shared | None:
    zero = tensors.get(f"{name}_zero_point")
    if zero is None:
        return None
    height, across = blocks
    if zero.dtype == "I32" and zero.shape == (-(-rows * bits // 32), across) and height == 1:
        return PackedZeros(zero, bits, across)
    return _beside(zero, scale, blocks)


def _beside(zero: LazyTensor, scale: LazyTensor, blocks: tuple[int, int]) -> Shared:
    if numel(zero.shape) != numel(scale.shape) or zero.dtype not in ("I8", "I32", "I64"):
        told = f"{zero.dtype} {list(zero.shape)}"
        raise BadFile(f"its zeros are {told}, and its scales {list(scale.shape)}")
    return Scales(zero, *blocks)


def _groups(
    name: str, tensors: Mapping[str, LazyTensor], columns: int, across: int
) -> LazyTensor | None:
    found = tensors.get(f"{name}_g_idx")
    if found is None or across == 1:
        return None
    return expect(tensors, f"{name}_g_idx", (columns,), ("I32", "I64"))
