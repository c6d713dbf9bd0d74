"""Models of few bits: every layout that is read, and the configuration that tells of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.conftest import llama
from tests.formats import few_bits_layouts as layouts
from tests.formats import quantised_models as packed
from tests.fuzz.specimens import INSPECT, Add

SAME = (INSPECT, ("compare", "{}/tuned", "{}/tuned", "-j", "1"))
CONFIG, WEIGHTS = "tuned/config.json", "tuned/model.safetensors"
METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "bnb": (packed.four_bits(), {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
    "bnb int8": (packed.eight_bits, {"load_in_8bit": True}),
    "fp8": (packed.float8_blocks(16), {"quant_method": "fp8", "weight_block_size": [16, 16]}),
    "gptq": (packed.gptq(), {"quant_method": "gptq", "bits": 4, "group_size": 16}),
    "awq": (packed.awq, {"quant_method": "awq", "bits": 4, "group_size": 16}),
}
#: Layouts whose headers alone are damaged; their configurations, where they have one, too.
LAYOUTS = (
    *("ct int4 in groups", "ct int4 with zeros", "ct int8 by row", "ct nvfp4", "ct mxfp4"),
    *("ComfyUI, scale_weight", "ComfyUI, comfy_quant", "ComfyUI, nvfp4", "float 8 by rows"),
    *("ModelOpt, nvfp4", "gpt-oss", "MLX in 4 bits", "MLX mxfp4", "torchao, Int8Tensor"),
)


def write(root: Path, add: Add) -> None:
    """Write a model of each."""
    del root
    small = {n: t for n, t in llama(layers=1).items() if "q_proj" in n or "norm" in n}
    wide = {n: t.repeat(4, 4) if t.ndim == 2 else t.repeat(4) for n, t in small.items()}
    for name, (pack, told) in METHODS.items():

        def make(at: Path, pack: Any = pack, told: Any = told) -> None:
            packed.quantise(at / "tuned", pack, base=wide, quantization_config=told)

        add(f"{name} configuration", "json", CONFIG, SAME, make)
        add(name, "safetensors", WEIGHTS, SAME, make)
    for name in LAYOUTS:
        layout = layouts.LAYOUTS[name](torch.randn(8, 160))

        def made(at: Path, layout: Any = layout) -> None:
            (at / "tuned").mkdir()
            save_file(layout.parts, at / "tuned" / "model.safetensors", layout.metadata or None)
            (at / "tuned" / "config.json").write_text(json.dumps(layout.config))

        add(name, "safetensors", WEIGHTS, SAME, made)
        if layout.config:
            add(f"{name}, configuration", "json", CONFIG, SAME, made)
