"""Models stored in few bits: packed by bitsandbytes, or by the published arithmetic in torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bitsandbytes import functional as bnb

from tests.analyses.planted import State, weights
from tests.conftest import FIXTURES, write_model

BASE = FIXTURES / "base"
#: What packs one weight: its siblings by name, and the values that they stand for.
Packer = Callable[[str, torch.Tensor], tuple[State, torch.Tensor]]


def four_bits(
    kind: str = "nf4", *, nested: bool = True, blocksize: int = 64, dtype: torch.dtype | None = None
) -> Packer:
    """Pack as `bnb.nn.Linear4bit` saves, and dequantise as it computes."""

    def pack(name: str, W: torch.Tensor) -> tuple[State, torch.Tensor]:
        packed, state = bnb.quantize_4bit(
            W if dtype is None else W.to(dtype),
            blocksize=blocksize,
            quant_type=kind,
            compress_statistics=nested,
        )
        parts = {f"{name}.{key}": value for key, value in state.as_dict(packed=True).items()}
        # flat: bitsandbytes 0.50's AVX-512 kernel loses its place in blocks that cross row ends
        state.shape = torch.Size([W.numel()])
        return {name: packed, **parts}, bnb.dequantize_4bit(packed, state).reshape(W.shape)

    return pack


def eight_bits(name: str, W: torch.Tensor) -> tuple[State, torch.Tensor]:
    """Pack as `bnb.nn.Linear8bitLt` saves."""
    packed, maxima, _ = bnb.int8_vectorwise_quant(W.half())
    module = name.removesuffix("weight")
    parts = {f"{module}SCB": maxima, f"{module}weight_format": torch.tensor(0, dtype=torch.uint8)}
    return {name: packed, **parts}, bnb.int8_vectorwise_dequant(packed, maxima)


def float8_blocks(size: int, *, exponents: bool = False) -> Packer:
    """Pack as DeepSeek publishes: a scale for each size × size block, the last ones ragged."""

    def pack(name: str, W: torch.Tensor) -> tuple[State, torch.Tensor]:
        rows, columns = W.shape
        down, across = -(-rows // size), -(-columns // size)
        padded = torch.zeros(down * size, across * size)
        padded[:rows, :columns] = W.float()
        top = padded.reshape(down, size, across, size).abs().amax((1, 3)) / 448
        scale = torch.exp2(torch.ceil(torch.log2(top))) if exponents else top
        spread = scale.repeat_interleave(size, 0).repeat_interleave(size, 1)[:rows, :columns]
        packed = (W.float() / spread).to(torch.float8_e4m3fn)
        stored = (torch.log2(scale) + 127).to(torch.uint8) if exponents else scale
        return {name: packed, f"{name}_scale_inv": stored}, packed.float() * spread

    return pack


def float8_rows(name: str, W: torch.Tensor) -> tuple[State, torch.Tensor]:
    """Pack as compressed-tensors does by channel: out × 1 scales."""
    scale = (W.float().abs().amax(1, keepdim=True) / 448).to(torch.bfloat16)
    packed = (W.float() / scale.float()).to(torch.float8_e4m3fn)
    return {name: packed, f"{name}_scale": scale}, packed.float() * scale.float()


def float8_whole(name: str, W: torch.Tensor) -> tuple[State, torch.Tensor]:
    """Pack with one scale for the whole."""
    scale = (W.float().abs().max() / 448).reshape(1)
    packed = (W.float() / scale).to(torch.float8_e4m3fn)
    return {name: packed, f"{name}_scale": scale}, packed.float() * scale


def gptq(*, shuffled: bool = False, less: int = 1, bits: int = 4, group: int = 16) -> Packer:
    """Pack as GPTQ: words along the inputs, zeros less one along the outputs, groups by name."""

    def pack(name: str, W: torch.Tensor) -> tuple[State, torch.Tensor]:
        inputs = W.shape[1]
        index = torch.arange(inputs) // group
        if shuffled:
            index = index[torch.randperm(inputs, generator=torch.Generator().manual_seed(3))]
        q, zeros, scales = _rounded(W, index, bits)
        module = name.removesuffix("weight")
        parts = {
            "qweight": _words(q.T, bits, range(32 // bits), rows=True),
            "qzeros": _words((zeros - less) % (1 << bits), bits, range(32 // bits)),
            "scales": scales,
            "g_idx": index.to(torch.int32),
        }
        values = (q.T - zeros[index]).float() * scales[index].float()
        return {f"{module}{part}": value for part, value in parts.items()}, values.T

    return pack


def awq(name: str, W: torch.Tensor) -> tuple[State, torch.Tensor]:
    """Pack as AWQ's GEMM kernel reads: words along the outputs, their nibbles in its order."""
    index = torch.arange(W.shape[1]) // 16
    q, zeros, scales = _rounded(W, index, 4)
    order, module = (0, 2, 4, 6, 1, 3, 5, 7), name.removesuffix("weight")
    parts = {
        "qweight": _words(q.T, 4, order),
        "qzeros": _words(zeros, 4, order),
        "scales": scales,
    }
    values = (q.T - zeros[index]).float() * scales[index].float()
    return {f"{module}{part}": value for part, value in parts.items()}, values.T


def _rounded(
    W: torch.Tensor, index: torch.Tensor, bits: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return q (out × in), zeros and scales (groups × out), by the range of each group."""
    groups = [W.float()[:, index == g] for g in range(int(index.max()) + 1)]
    low = torch.stack([part.amin(1).clamp(max=0) for part in groups])
    high = torch.stack([part.amax(1).clamp(min=0) for part in groups])
    most = (1 << bits) - 1
    scales = ((high - low) / most).clamp(min=1e-6).to(torch.float16)
    zeros = torch.round(-low / scales.float()).clamp(1, most).to(torch.int64)
    q = torch.round(W.float() / scales[index].T.float()) + zeros[index].T
    return q.clamp(0, most).to(torch.int64), zeros, scales


def _words(numbers: torch.Tensor, bits: int, order: object, *, rows: bool = False) -> torch.Tensor:
    """Pack whole numbers into words of 32 bits, along the columns or the rows."""
    flat = np.asarray(numbers.T if rows else numbers, np.int64)
    many = 32 // bits
    words = np.zeros((flat.shape[0], -(-flat.shape[1] // many)), np.int64)
    for place, which in enumerate(order):  # type: ignore[arg-type]
        part = flat[:, which::many]
        words[:, : part.shape[1]] |= part << (place * bits)
    packed = torch.from_numpy(words.astype(np.uint32).view(np.int32).copy())
    return packed.T.contiguous() if rows else packed


def quantise(
    folder: Path,
    pack: Packer,
    *,
    only: str = "_proj.weight",
    base: State | None = None,
    **config: object,
) -> tuple[Path, State]:
    """Write a base (the fixtures') with these weights packed; return it and its values."""
    stored: State = {}
    values: State = {}
    for name, W in (weights(BASE) if base is None else base).items():
        if name.endswith(only):
            parts, values[name] = pack(name, W)
            stored |= parts
        else:
            stored[name] = values[name] = W
    settings = json.loads((BASE / "config.json").read_text()) | config
    return write_model(folder, stored, config=settings), values
