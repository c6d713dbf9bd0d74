"""compressed-tensors packs and dequantises; what is read of its files is that, bit for bit."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ftdiff.formats import Quantised, open_checkpoint

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    compressors = pytest.importorskip("compressed_tensors.compressors")
    quantization = pytest.importorskip("compressed_tensors.quantization")

WHOLE = ({"strategy": "group", "group_size": 32}, {"strategy": "channel"}, {"strategy": "tensor"})
CASES: list[tuple[str, dict[str, Any]]] = [
    *(
        ("pack-quantized", {"num_bits": bits, "symmetric": even, **WHOLE[0]})
        for bits in (2, 3, 4, 5, 8)
        for even in (True, False)
    ),
    *(
        (kind, {"num_bits": bits, "symmetric": even, **how})
        for kind, bits in (("pack-quantized", 4), ("int-quantized", 8), ("naive-quantized", 8))
        for how in WHOLE
        for even in (True, False)
    ),
    *(("float-quantized", {"num_bits": 8, "type": "float", **how}) for how in WHOLE),
    ("naive-quantized", {"num_bits": 8, "type": "float", "strategy": "block",
                         "block_structure": [16, 32]}),
    ("nvfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "tensor_group",
                              "group_size": 16}),
    ("mxfp4-pack-quantized", {"num_bits": 4, "type": "float", **WHOLE[0]}),
    ("mxfp8-quantized", {"num_bits": 8, "type": "float", "scale_dtype": torch.uint8, **WHOLE[0]}),
]  # fmt: skip


def parts(W: torch.Tensor, args: Any) -> dict[str, torch.Tensor]:
    """Return a weight with the scales and zeros that the library chooses."""
    X, how = W.float(), str(args.strategy)
    if args.group_size:
        blocks, axes = X.unflatten(-1, (-1, args.group_size)), (-1,)
    elif args.block_structure:
        high, wide = args.block_structure
        blocks, axes = X.reshape(len(X) // high, high, -1, wide).transpose(1, 2), (2, 3)
    elif "channel" in how:
        blocks, axes = X.unsqueeze(1), (-1,)
    else:
        blocks, axes = X.reshape(1, -1), (-1,)
    least, most = blocks.amin(axes).to(W.dtype), blocks.amax(axes).to(W.dtype)
    more = {}
    if "tensor_group" in how:
        more["global_scale"] = (6 * 448 / X.abs().max()).reshape(1)
    scale, zero = quantization.utils.calculate_qparams(least, most, args, **more)
    named = {f"weight_{name}": value for name, value in more.items()}
    return {"weight": W, "weight_scale": scale, "weight_zero_point": zero, **named}


@pytest.mark.parametrize(("kind", "given"), CASES, ids=lambda part: str(part)[:60])
def test_its_files_are_read_as_it_dequantises_them(
    kind: str, given: dict[str, Any], tmp_path: Path
) -> None:
    W = torch.randn(48, 96, generator=torch.Generator().manual_seed(2)).to(torch.bfloat16)
    args = quantization.QuantizationArgs(**({"type": "int", "symmetric": True} | given))
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=args)
    compressor = compressors.BaseCompressor.get_value_from_registry(kind)
    packed = compressor.compress(parts(W, args), scheme)
    wanted = compressor.decompress(dict(packed), scheme)["weight"]
    stored = {f"m.{name}": value.contiguous() for name, value in packed.items()}
    save_file(stored, tmp_path / "model.safetensors")
    weights = {"num_bits": args.num_bits, "block_structure": args.block_structure}
    method = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": weights}}}
    config = {"dtype": "bfloat16", "quantization_config": method}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tensor,) = open_checkpoint(tmp_path).tensors.values()
    assert isinstance(tensor, Quantised), getattr(tensor, "reason", tensor)
    assert tensor.dtype == "BF16" and wanted.dtype == torch.bfloat16
    np.testing.assert_array_equal(tensor.read().astype(np.float32), wanted.float().numpy())
