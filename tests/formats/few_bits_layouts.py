"""Weights in few bits as their tools publish the layout, written out in torch: parts and values.

Nothing of the reader is used; each layout returns the stored parts of `m.weight`, the values that
they stand for in float32, and what lies beside the tensors: configuration and metadata.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

State = dict[str, torch.Tensor]
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
F8 = torch.float8_e4m3fn


@dataclass(frozen=True)
class Layout:
    """A weight as it is stored.

    Attributes
    ----------
    parts, values
        The stored tensors, and what they stand for, float32.
    config, metadata
        `config.json`, and the metadata of the header.
    scheme
        What the reader is to call it.
    error
        The most that ‖values − W‖/‖W‖ may be.
    name
        The weight's.
    """

    parts: State
    values: torch.Tensor
    scheme: str
    error: float
    config: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] | None = None
    name: str = "m.weight"


Maker = Callable[[torch.Tensor], Layout]


def stream(codes: torch.Tensor, bits: int, dtype: type = np.int32) -> torch.Tensor:
    """Write the codes of each row one after the other from the lowest bit, in words of 32."""
    rows = len(codes)
    ones = (codes.numpy()[:, :, None] >> np.arange(bits)) & 1
    flat = ones.reshape(rows, -1).astype(np.uint8)
    flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % 32)))
    packed = np.packbits(flat, axis=1, bitorder="little")
    return torch.from_numpy(packed.view("<u4").astype(np.uint32).view(dtype).copy())


def pairs(codes: torch.Tensor, *, high_first: bool = False) -> torch.Tensor:
    """Write two codes a byte."""
    first, second = codes[..., ::2].to(torch.uint8), codes[..., 1::2].to(torch.uint8)
    return (first << 4 | second) if high_first else (second << 4 | first)


def grouped(W: torch.Tensor, group: int) -> torch.Tensor:
    return W.float().unflatten(-1, (-1, group))


def symmetric(W: torch.Tensor, bits: int, group: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Round groups to whole numbers about zero: q, and the scales in bfloat16."""
    blocks, most = grouped(W, group), (1 << (bits - 1)) - 1
    scale = (blocks.abs().amax(-1) / most).to(torch.bfloat16)
    q = torch.round(blocks / scale.float()[..., None]).clamp(-most - 1, most)
    return q.flatten(-2).to(torch.int64), scale


def affine(W: torch.Tensor, bits: int, group: int) -> tuple[torch.Tensor, ...]:
    """Round groups between their ends: q from 0, scales in bfloat16, zeros."""
    blocks, most = grouped(W, group), (1 << bits) - 1
    low, high = blocks.amin(-1).clamp(max=0), blocks.amax(-1).clamp(min=0)
    scale = ((high - low) / most).to(torch.bfloat16)
    zero = torch.round(-low / scale.float()).clamp(0, most).to(torch.int64)
    q = (torch.round(blocks / scale.float()[..., None]) + zero[..., None]).clamp(0, most)
    return q.flatten(-2).to(torch.int64), scale, zero


def spread(scale: torch.Tensor, group: int) -> torch.Tensor:
    return scale.float().repeat_interleave(group, -1)


COMPRESSED = {"quantization_config": {"quant_method": "compressed-tensors"}}


def packed_whole(bits: int, group: int, *, shuffled: bool = False) -> Maker:
    """compressed-tensors, pack-quantized and symmetric; in groups named by `g_idx` if shuffled."""

    def make(W: torch.Tensor) -> Layout:
        order = torch.randperm(W.shape[1]) if shuffled else torch.arange(W.shape[1])
        q, scale = symmetric(W[:, order], bits, group)
        back = torch.argsort(order)
        parts = {
            "m.weight_packed": stream(q[:, back] + (1 << (bits - 1)), bits),
            "m.weight_scale": scale,
            "m.weight_shape": torch.tensor(W.shape),
        }
        if shuffled:
            parts["m.weight_g_idx"] = (torch.arange(W.shape[1]) // group)[back].to(torch.int32)
        values = (q.float() * spread(scale, group))[:, back]
        error = {2: 0.7, 3: 0.3, 4: 0.13, 8: 0.01}[bits]
        return Layout(parts, values, f"INT{bits}", error, COMPRESSED)

    return make


def packed_zeros(bits: int, group: int) -> Maker:
    """compressed-tensors, pack-quantized with zeros, which are packed down the rows."""

    def make(W: torch.Tensor) -> Layout:
        q, scale, zero = affine(W, bits, group)
        parts = {
            "m.weight_packed": stream(q, bits),
            "m.weight_scale": scale,
            "m.weight_zero_point": stream(zero.T, bits).T.contiguous(),
            "m.weight_shape": torch.tensor(W.shape),
        }
        values = (q.float() - spread(zero, group)) * spread(scale, group)
        return Layout(parts, values, f"INT{bits}", 0.2 if bits < 4 else 0.11, COMPRESSED)

    return make


def whole_bytes(how: str, *, zeros: bool = False) -> Maker:
    """compressed-tensors, int-quantized: a byte each, scales by row, by group or of the whole."""

    def make(W: torch.Tensor) -> Layout:
        group = 32 if how == "group" else W.shape[1]
        flat = W.reshape(1, -1) if how == "tensor" else W
        if zeros:
            q, scale, zero = affine(flat, 8, flat.shape[1] if how == "tensor" else group)
            q, zero = q - 128, zero - 128
        else:
            q, scale = symmetric(flat, 8, flat.shape[1] if how == "tensor" else group)
            zero = torch.zeros_like(scale, dtype=torch.int64)
        wide = flat.shape[1] if how == "tensor" else group
        values = ((q.float() - spread(zero, wide)) * spread(scale, wide)).reshape(W.shape)
        shape = (1,) if how == "tensor" else scale.shape
        parts = {
            "m.weight": q.reshape(W.shape).to(torch.int8),
            "m.weight_scale": scale.reshape(shape),
        }
        if zeros:
            parts["m.weight_zero_point"] = zero.reshape(shape).to(torch.int8)
        return Layout(parts, values, "INT8", 0.012, COMPRESSED)

    return make


def float8(*shape: int, scale: str = "weight_scale", dtype: torch.dtype = torch.float32) -> Maker:
    """A scale of the whole, of each row (−1), or of groups of columns."""

    def make(W: torch.Tensor) -> Layout:
        sides = tuple(W.shape[0] if side == -1 else side for side in shape)
        blocks = W.float().reshape(sides[0] if sides else 1, -1)
        if len(sides) == 2 and sides[1] > 1:
            blocks = W.float().reshape(-1, W.shape[1] // sides[1])
        held = (blocks.abs().amax(1, keepdim=True) / 448).to(dtype)
        q = (blocks / held.float()).to(F8)
        parts = {"m.weight": q.reshape(W.shape), f"m.{scale}": held.reshape(sides)}
        return Layout(parts, (q.float() * held.float()).reshape(W.shape), "F8_E4M3", 0.03)

    return make


def comfy_old(W: torch.Tensor) -> Layout:
    """ComfyUI, `scale_weight` and the marker."""
    found = float8(scale="scale_weight")(W)
    marks = {"scaled_fp8": torch.zeros(0, dtype=F8), "m.scale_input": torch.ones(())}
    return Layout({**found.parts, **marks}, found.values, "F8_E4M3", 0.03)


def described(layout: Layout, *, header: bool = False, **told: Any) -> Layout:
    """Say a module's format as ComfyUI does: in a tensor of JSON, or in the header."""
    if header:
        text = json.dumps({"format_version": "1.0", "layers": {"m": told}})
        metadata = {"_quantization_metadata": text}
        return Layout(layout.parts, layout.values, layout.scheme, layout.error, {}, metadata)
    text = torch.frombuffer(bytearray(json.dumps(told).encode()), dtype=torch.uint8)
    parts = {**layout.parts, "m.comfy_quant": text}
    return Layout(parts, layout.values, layout.scheme, layout.error)


def comfy_float8(*, header: bool = False) -> Maker:
    def make(W: torch.Tensor) -> Layout:
        found = float8()(W)
        parts = found.parts | {"m.input_scale": torch.ones(())}
        if header:  # some keep float 8 as bytes
            parts["m.weight"] = parts["m.weight"].view(torch.uint8)
        layout = Layout(parts, found.values, "F8_E4M3", 0.03)
        return described(layout, header=header, format="float8_e4m3fn")

    return make


def comfy_int8(block: int = 0) -> Maker:
    def make(W: torch.Tensor) -> Layout:
        height, width = (block, block) if block else W.shape
        tiles = W.float().reshape(W.shape[0] // height, height, -1, width)
        scale = tiles.abs().amax((1, 3)) / 127
        q = torch.round(tiles / scale[:, None, :, None])
        parts = {
            "m.weight": q.reshape(W.shape).to(torch.int8),
            "m.weight_scale": scale if block else scale.reshape(()),
        }
        layout = Layout(parts, (q * scale[:, None, :, None]).reshape(W.shape), "INT8", 0.012)
        if block:
            return described(layout, format="int8_blockwise", group_size=block)
        return described(layout, format="int8_tensorwise")

    return make


def tiled(scale: torch.Tensor) -> torch.Tensor:
    """Lay out scales in tiles of 128 rows and 4 columns, one entry after the other."""
    rows, columns = scale.shape
    down, across = -(-rows // 128), -(-columns // 4)
    found = torch.zeros(down * across * 512, dtype=torch.uint8)
    held = scale.view(torch.uint8)
    for r in range(rows):
        for c in range(columns):
            tile = r // 128 * across + c // 4
            found[tile * 512 + r % 32 * 16 + r % 128 // 32 * 4 + c % 4] = held[r, c]
    return found.view(scale.dtype).reshape(down * 128, across * 4)


def e2m1(blocks: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the code of the nearest level of each entry."""
    share = blocks / scale[..., None]
    return (share[..., None] - E2M1).abs().argmin(-1).flatten(-2)


def nvfp4(whole: str = "weight_scale_2") -> Maker:
    """ModelOpt's NVFP4, or compressed-tensors', whose scale of the whole divides."""

    def make(W: torch.Tensor) -> Layout:
        blocks, divides = grouped(W, 16), whole == "weight_global_scale"
        factor = W.float().abs().max() / (6 * 448)
        own = (blocks.abs().amax(-1) / 6 / factor).to(F8)
        scale = own.float() / (1 / factor) if divides else own.float() * factor
        codes = e2m1(blocks, scale)
        values = E2M1[codes] * spread(scale, 16)
        last = "weight_packed" if divides else "weight"
        parts = {
            f"m.{last}": pairs(codes),
            "m.weight_scale": own,
            f"m.{whole}": (1 / factor).reshape(1) if divides else factor,
        }
        return Layout(parts, values, "NVFP4", 0.13)

    return make


def comfy_nvfp4(W: torch.Tensor) -> Layout:
    """ComfyUI's: high nibbles first, scales as tensor cores take them."""
    found = nvfp4()(W)
    codes = found.parts["m.weight"]
    parts = {
        **found.parts,
        "m.weight": (codes & 15) << 4 | codes >> 4,
        "m.weight_scale": tiled(found.parts["m.weight_scale"]),
    }
    return described(Layout(parts, found.values, "NVFP4", 0.13), format="nvfp4")


def exponents(blocks: torch.Tensor, most: float) -> torch.Tensor:
    top = blocks.abs().amax(-1).clamp(min=1e-30)
    return (torch.ceil(torch.log2(top / most)) + 127).to(torch.uint8)


def lifted(stored: torch.Tensor) -> torch.Tensor:
    return torch.exp2(stored.float() - 127)


def comfy_mxfp8(W: torch.Tensor) -> Layout:
    blocks = grouped(W, 32)
    stored = exponents(blocks, 448)
    q = (blocks / lifted(stored)[..., None]).to(F8)
    values = (q.float() * lifted(stored)[..., None]).flatten(-2)
    parts = {"m.weight": q.flatten(-2), "m.weight_scale": tiled(stored)}
    return described(Layout(parts, values, "MXFP8", 0.04), format="mxfp8")


def mxfp4_packed(W: torch.Tensor) -> Layout:
    """compressed-tensors' MXFP4."""
    blocks = grouped(W, 32)
    stored = exponents(blocks, 6)
    codes = e2m1(blocks, lifted(stored))
    parts = {"m.weight_packed": pairs(codes), "m.weight_scale": stored}
    return Layout(parts, E2M1[codes] * spread(lifted(stored), 32), "MXFP4", 0.16)


def mxfp4_experts(W: torch.Tensor) -> Layout:
    """gpt-oss: three experts, of which the model holds the transposes."""
    experts = torch.stack([W, W.roll(1, 0), W.roll(2, 1)]).float()
    blocks = grouped(experts, 32)
    stored = exponents(blocks, 6)
    codes = e2m1(blocks, lifted(stored))
    values = (E2M1[codes] * spread(lifted(stored), 32)).transpose(1, 2)
    name = "m.experts.down_proj"
    parts = {f"{name}_blocks": pairs(codes).unflatten(-1, (-1, 16)), f"{name}_scales": stored}
    return Layout(parts, values, "MXFP4", 0.16, name=name)


def mlx(bits: int, group: int = 32) -> Maker:
    """MLX affine: W = scale · q + bias."""

    def make(W: torch.Tensor) -> Layout:
        blocks, most = grouped(W, group), (1 << bits) - 1
        bias = blocks.amin(-1).to(torch.bfloat16)
        scale = ((blocks.amax(-1) - bias.float()) / most).to(torch.bfloat16)
        shifted = (blocks - bias.float()[..., None]) / scale.float()[..., None]
        q = torch.round(shifted).clamp(0, most).flatten(-2).to(torch.int64)
        parts = {"m.weight": stream(q, bits, np.uint32), "m.scales": scale, "m.biases": bias}
        values = q.float() * spread(scale, group) + spread(bias, group)
        error = {2: 0.5, 3: 0.2, 4: 0.11, 6: 0.03, 8: 0.01}[bits]
        config = {"quantization": {"group_size": group, "bits": bits}}
        return Layout(parts, values, f"INT{bits}", error, config)

    return make


def mlx_floats(mode: str) -> Maker:
    def make(W: torch.Tensor) -> Layout:
        group = 16 if mode == "nvfp4" else 32
        blocks = grouped(W, group)
        if mode == "nvfp4":
            own = (blocks.abs().amax(-1) / 6).to(F8)
            stored, scale = own.view(torch.uint8), own.float()
        else:
            stored = exponents(blocks, 448 if mode == "mxfp8" else 6)
            scale = lifted(stored)
        if mode == "mxfp8":
            bytes_ = (blocks / scale[..., None]).to(F8).flatten(-2)
            values, packed = bytes_.float() * spread(scale, group), bytes_.view(torch.uint8)
        else:
            codes = e2m1(blocks, scale)
            values, packed = E2M1[codes] * spread(scale, group), pairs(codes)
        words = torch.from_numpy(packed.numpy().view(np.uint32).copy())
        given = {"group_size": group, "bits": 8 if mode == "mxfp8" else 4, "mode": mode}
        parts = {"m.weight": words, "m.scales": stored}
        config = {"quantization": {"group_size": 64, "bits": 2, "m": given}}
        return Layout(parts, values, mode.upper(), 0.17, config)

    return make


def torchao(kind: str) -> Maker:
    def make(W: torch.Tensor) -> Layout:
        dtype = {"_type": "torch.dtype", "_data": "float32"}
        if kind == "Float8Tensor":
            found = float8(-1, 1)(W)
            parts = {"qdata": found.parts["m.weight"], "scale": found.parts["m.weight_scale"]}
            values, scheme = found.values, "F8_E4M3"
        else:
            found = whole_bytes("group", zeros=True)(W)
            ends = ("qdata", "scale", "zero_point")
            parts = dict(zip(ends, found.parts.values(), strict=True))
            values, scheme = found.values, "INT8"
        told = {"_type": kind, "_data": {"dtype": dtype}, "_tensor_data_names": [*parts]}
        metadata = {"m.weight": json.dumps(told), "tensor_names": json.dumps(["m.weight"])}
        named = {f"m._weight_{part}": value for part, value in parts.items()}
        return Layout(named, values, scheme, 0.03, {}, metadata)

    return make


LAYOUTS: dict[str, Maker] = {
    **{f"ct int{bits} in groups": packed_whole(bits, 32) for bits in (2, 3, 4, 8)},
    "ct int4 by rows": packed_whole(4, 160),
    "ct int4 by activation order": packed_whole(4, 32, shuffled=True),
    **{f"ct int{bits} with zeros": packed_zeros(bits, 32) for bits in (3, 4, 8)},
    **{f"ct int8 by {how}": whole_bytes(how) for how in ("row", "group", "tensor")},
    **{f"ct int8 by {how}, zeros": whole_bytes(how, zeros=True) for how in ("row", "tensor")},
    "float 8 by rows": float8(-1, 1),
    "float 8 by rows, flat": float8(-1, dtype=torch.bfloat16),
    "float 8 of the whole": float8(1),
    "float 8 in groups": float8(-1, 5, dtype=torch.bfloat16),
    "float 8, weight_scales": float8(-1, 1, scale="weight_scales"),
    "ComfyUI, scale_weight": comfy_old,
    "ComfyUI, comfy_quant": comfy_float8(),
    "ComfyUI, header": comfy_float8(header=True),
    "ComfyUI, int8": comfy_int8(),
    "ComfyUI, int8 in blocks": comfy_int8(8),
    "ComfyUI, nvfp4": comfy_nvfp4,
    "ComfyUI, mxfp8": comfy_mxfp8,
    "ModelOpt, nvfp4": nvfp4(),
    "ct nvfp4": nvfp4("weight_global_scale"),
    "ct mxfp4": mxfp4_packed,
    "gpt-oss": mxfp4_experts,
    **{f"MLX in {bits} bits": mlx(bits) for bits in (2, 3, 4, 6, 8)},
    **{f"MLX {mode}": mlx_floats(mode) for mode in ("mxfp4", "nvfp4", "mxfp8")},
    "torchao, Int8Tensor": torchao("Int8Tensor"),
    "torchao, Float8Tensor": torchao("Float8Tensor"),
}
