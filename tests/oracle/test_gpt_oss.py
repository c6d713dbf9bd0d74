"""Experts of gpt-oss are what transformers dequantises them to, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from ftdiff.formats import open_checkpoint


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_experts_are_read_as_transformers_holds_them(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(1)
    blocks = torch.randint(0, 256, (3, 40, 5, 16), dtype=torch.uint8, generator=draw)
    scales = torch.randint(110, 130, (3, 40, 5), dtype=torch.uint8, generator=draw)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    tensor = open_checkpoint({f"{name}_blocks": blocks, f"{name}_scales": scales}).tensors[name]
    held = tensor.held({torch.bfloat16: "BF16", torch.float32: "F32"}[dtype])  # type: ignore[attr-defined]
    wanted = convert_moe_packed_tensors(blocks, scales, dtype=dtype)
    assert tensor.shape == tuple(wanted.shape) == (3, 160, 40)
    np.testing.assert_array_equal(held.read().astype(np.float32), wanted.float().numpy())
