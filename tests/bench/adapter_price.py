"""What a rank-16 LoRA on all seven projections costs: without a base, with one, and merged by PEFT.

    python -m tests.bench.adapter_price [--layers 32] [--based 4]

The shapes are a 7B Llama's (4096, 11008). Without a base, the adapter has `--layers` layers, and
the yardstick is reading its file; with a base, both have `--based` layers, and the yardsticks are a
bare read of the base and PEFT's merge of the same weights. Whole processes, warm files; private
memory is the largest anonymous size seen.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from tests.bench.compare_rate import READ
from tests.bench.timing import Run, run, warm

HIDDEN, INNER, RANK = 4096, 11008, 16
SHAPES = {f"self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"}
SHAPES |= {f"mlp.{name}_proj": (INNER, HIDDEN) for name in ("gate", "up")}
SHAPES |= {"mlp.down_proj": (HIDDEN, INNER)}
OURS = """
import sys
import ftdiff
base = None if sys.argv[1] == "-" else sys.argv[1]
print(ftdiff.compare(base, sys.argv[2]).overall["rms_change"])
"""
MERGE = """
import sys, torch
from safetensors.torch import load_file
import peft
base, adapter = load_file(sys.argv[1] + "/model.safetensors"), sys.argv[2]
class Leaf(torch.nn.Module):
    pass
root = Leaf()
for name, weight in base.items():
    *path, leaf, _ = name.split(".")
    at = root
    for word in path:
        if not hasattr(at, word):
            at.add_module(word, Leaf())
        at = getattr(at, word)
    linear = torch.nn.Linear(1, 1, bias=False)
    linear.weight = torch.nn.Parameter(weight, requires_grad=False)
    at.add_module(leaf, linear)
    linear.out_features, linear.in_features = weight.shape
total = 0.0
model = peft.PeftModel.from_pretrained(root, adapter)
merged = model.merge_and_unload().state_dict()
base = load_file(sys.argv[1] + "/model.safetensors")
for name, W in base.items():
    d = merged[name].float() - W.float()
    total += float(torch.sum(d * d, dtype=torch.float64))
print(total)
"""


def make_adapter(folder: Path, layers: int) -> Path:
    """Write an adapter of random bf16 factors in PEFT's layout."""
    rng = np.random.default_rng(0)
    state = {}
    for i in range(layers):
        for name, (rows, columns) in SHAPES.items():
            at = f"base_model.model.model.layers.{i}.{name}"
            for part, shape in (("lora_A", (RANK, columns)), ("lora_B", (rows, RANK))):
                values = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.01)
                state[f"{at}.{part}.weight"] = values.astype(ml_dtypes.bfloat16)
    folder.mkdir()
    save_file(state, folder / "adapter_model.safetensors")
    targets = sorted({name.rpartition(".")[2] for name in SHAPES})
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 32, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def make_base(folder: Path, layers: int) -> Path:
    """Write a base of random bf16 weights."""
    rng = np.random.default_rng(1)
    drawn = rng.standard_normal(HIDDEN * INNER, dtype=np.float32) * np.float32(0.02)
    noise = drawn.astype(ml_dtypes.bfloat16)
    folder.mkdir()
    state = {
        f"model.layers.{i}.{name}.weight": np.roll(noise, i)[: a * b].reshape(a, b)
        for i in range(layers)
        for name, (a, b) in SHAPES.items()
    }
    save_file(state, folder / "model.safetensors")
    return folder


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=32, help="without a base")
    parser.add_argument("--based", type=int, default=4, help="with a base")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        alone = make_adapter(Path(folder) / "alone", options.layers)
        adapter = make_adapter(Path(folder) / "adapter", options.based)
        base = make_base(Path(folder) / "base", options.based)
        python = [sys.executable, "-c"]
        ways = {
            f"cat of the adapter, {options.layers} layers": [
                "cat",
                str(alone / "adapter_model.safetensors"),
            ],
            "importing ftdiff and its frame": [*python, "import ftdiff, pandas; ftdiff.Diff"],
            "ftdiff, no base": [*python, OURS, "-", str(alone)],
            f"bare read of the base, {options.based} layers": [
                *python,
                READ,
                str(base),
                str(adapter),
            ],
            "ftdiff, with the base": [*python, OURS, str(base), str(adapter)],
            "PEFT's merge, then a difference": [*python, MERGE, str(base), str(adapter)],
        }
        files = [alone / "adapter_model.safetensors", adapter / "adapter_model.safetensors"]
        files.append(base / "model.safetensors")
        found: dict[str, list[Run]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, command in ways.items():
                warm(files)
                found[name].append(run(command))
    print(f"{'':38}{'wall s':>8}{'CPU s':>8}{'private MB':>12}")
    for name, runs in found.items():
        wall, cpu = (statistics.median(getattr(r, k) for r in runs) for k in ("wall", "cpu"))
        private = statistics.median(one.private for one in runs) / 1e6
        print(f"{name:38}{wall:8.2f}{cpu:8.2f}{private:12.0f}")


if __name__ == "__main__":
    main()
