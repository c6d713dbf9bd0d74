"""Run everything that runs a model on a device, hold it against the processor, print what is found.

    python -m tests.bench.device                       # cuda where torch sees it, or else cpu
    python -m tests.bench.device --device cuda --dtype bfloat16
    python -m tests.bench.device --model DIR --tuned DIR --text FILE.jsonl --data FILE.jsonl

Under five minutes on the small models of `fixtures/`. A line per measurement: seconds on the
device, seconds on the processor, and how far apart the numbers are. A measurement that fails is
said, and the rest goes on; the exit code is then 1. What is measured is held against the processor
in the same dtype of the forward pass.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import ftdiff

FIXTURES = Path(__file__).parents[2] / "fixtures"
Numbers = dict[str, Any]


def weighed(options: argparse.Namespace, device: str) -> Numbers:
    """Measure what tensors and layers are worth: gradients, path, ablations, gates."""
    found = ftdiff.importance(
        *(options.model, options.tuned),
        text=options.text, max_texts=16, batch=16, device=device, dtype=options.dtype,
    )  # fmt: skip
    tensors = found.diff.frame
    names = ("saliency", "saliency_mean", "slope", "slope_abs", "path", "path_share")
    layers = found.frame.pivot_table("value", ["stack", "layer"], "measure", dropna=False)
    told = {name: tensors[name].to_numpy(float) for name in names}
    told |= {name: layers[name].to_numpy(float) for name in layers}
    print(f"    loss {found.losses}, gap {found.about.get('gap'):.2e}")
    return told | {"losses": np.array(found.losses, float)}


def probed(options: argparse.Namespace, device: str) -> Numbers:
    """Probe every site of both models."""
    sites = ("block", "mlp", "attn", "mlp.in")
    found = ftdiff.probe(
        *(options.model, options.tuned),
        data=options.data, sites=sites, layers=options.layers,
        positions=("exact_answer_last", "-1"), permutations=100, batch=64,
        device=device, dtype=options.dtype,
    )  # fmt: skip
    best = found.frame.loc[found.frame["auroc"].astype(float).idxmax()]
    print(f"    best: {best['site']} {best['layer']} {best['position']} AUROC {best['auroc']:.3f}")
    return {"auroc": found.frame["auroc"].to_numpy(float)}


def drifted(options: argparse.Namespace, device: str) -> Numbers:
    """Measure where hidden states moved, and the logits."""
    found = ftdiff.drift(
        *(options.model, options.tuned),
        text=options.text, max_texts=16, batch=16, device=device, dtype=options.dtype,
    )  # fmt: skip
    return dict(_columns(found))


def live(options: argparse.Namespace, device: str) -> Numbers:
    """Compare files with a model that lies on the device, as a trainer's callback does."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(options.tuned, dtype=torch.bfloat16).to(device)
    frame = ftdiff.compare(options.model, model).frame.sort_values("tensor")
    frame = frame[frame["tensor"] != "lm_head.weight"]
    names = ("relative_norm", "cosine", "max_abs_change")
    return {name: frame[name].to_numpy(float) for name in names}


def spectra(options: argparse.Namespace, device: str) -> Numbers:
    """Take singular values on the device."""
    found = ftdiff.compare(options.model, options.tuned, metrics=["spectral_norm"], device=device)
    return {"spectral_norm": found.frame["spectral_norm"].to_numpy(float)}


def _columns(found: Any) -> Iterator[tuple[str, Any]]:
    """Yield every number of every frame that a result has."""
    for name in sorted({*dir(type(found)), *getattr(found, "__dataclass_fields__", ())}):
        if name.startswith("_"):
            continue
        frame = getattr(found, name)
        if isinstance(frame, pd.DataFrame):
            kept = [n for n in frame.select_dtypes("number") if not n.endswith(("_floor", "_rank"))]
            for column in kept:  # floors are rounding itself
                yield f"{name}.{column}", frame[column].to_numpy(float, na_value=np.nan)


def apart(one: Numbers, other: Numbers) -> Iterator[str]:
    """Yield how far two measurements are apart, over the largest number of each column."""
    for name, values in one.items():
        there = other[name]
        if values.shape != there.shape:
            yield f"{name} has other rows"
            continue
        known = np.isfinite(values) & np.isfinite(there)
        same = np.array_equal(np.isfinite(values), np.isfinite(there))
        size = np.abs(there[known]).max(initial=0.0)
        far = np.abs(values - there)[known].max(initial=0.0) / size if size else 0.0
        yield f"{name} {far:.1e}" + ("" if same else " (and other numbers are missing)")


WORK: dict[str, Callable[[argparse.Namespace, str], Numbers]] = {
    "importance": weighed,
    "probe": probed,
    "drift": drifted,
    "a model in memory": live,
    "spectra": spectra,
}


def timed(
    work: Callable[[argparse.Namespace, str], Numbers], options: Any, device: str
) -> tuple[float, Numbers]:
    """Return how long it took, and what was measured."""
    start = time.perf_counter()
    found = work(options, device)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start, found


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    found = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=found)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--model", type=Path, default=FIXTURES / "base")
    parser.add_argument("--tuned", type=Path, default=FIXTURES / "full")
    parser.add_argument("--text", type=Path, default=FIXTURES / "text.jsonl")
    parser.add_argument("--data", type=Path, default=FIXTURES / "names.jsonl")
    parser.add_argument("--layers", type=int, nargs="*", default=[0, 27])
    parser.add_argument("--only", nargs="+", choices=WORK, default=[*WORK])
    options = parser.parse_args()
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else "the processor"
    print(f"torch {torch.__version__}, {options.device} ({where}), forward pass in {options.dtype}")
    begun, failed = time.perf_counter(), []
    for name in options.only:
        print(f"{name}:", flush=True)
        try:
            took, there = timed(WORK[name], options, options.device)
            again, here = (took, there)
            if options.device != "cpu":
                again, here = timed(WORK[name], options, "cpu")
        except Exception:  # noqa: BLE001  the rest is still worth running
            failed.append(name)
            traceback.print_exc(limit=-3, file=sys.stdout)
            continue
        print(f"    {took:.1f} s, on the processor {again:.1f} s")
        if options.device != "cpu":
            print(f"    apart, over each column's largest: {', '.join(apart(there, here))}")
    if options.device.startswith("cuda"):
        print(f"most memory: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
    told = f"failed: {', '.join(failed)}" if failed else "all of it ran"
    print(f"{told}, in {time.perf_counter() - begun:.0f} s")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
