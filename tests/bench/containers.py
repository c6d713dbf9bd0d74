"""What a comparison of every container and scheme with its original takes: private memory, time.

    python -m tests.bench.containers [--gigabytes 0.256] [--only nf4] [--out containers.md]

The original is a checkpoint of bfloat16 in safetensors, of the given size; each line is that model
in another container, or quantised, written by its own library where there is one. `ftdiff compare`
runs in a process of its own, on files that have been read before. Private memory is the largest
anonymous size that is seen while it runs (of which an interpreter with NumPy takes a part); time is
given as a multiple of that of `cat` of the same files.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import gguf
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from tests.formats.few_bits_layouts import LAYOUTS
from tests.formats.quantised_models import (
    Packer,
    awq,
    eight_bits,
    float8_blocks,
    four_bits,
    gptq,
)

ROWS, COLUMNS = 4096, 4096
State = dict[str, torch.Tensor]
#: Writes the model into a folder; the tuned weight is one matrix, in every layer.
Writer = Callable[[Path, torch.Tensor, int], None]
CONFIG = {"model_type": "llama", "dtype": "bfloat16", "torch_dtype": "bfloat16"}
FEW_BITS = (
    *("ct int4 in groups", "ct int4 with zeros", "ct int4 by activation order", "ct int8 by row"),
    *("float 8 by rows", "float 8 of the whole", "ComfyUI, scale_weight", "ComfyUI, nvfp4"),
    *("ct nvfp4", "ct mxfp4", "MLX in 4 bits", "MLX in 3 bits"),
)


def names(layers: int) -> list[str]:
    """Return what the matrices are called."""
    return [f"model.layers.{i}.mlp.up_proj.weight" for i in range(layers)]


def state(W: torch.Tensor, layers: int) -> State:
    """Return a model; its tensors are written one by one, and shared until then."""
    return {name: W.clone() for name in names(layers)}


def weights(seed: int = 0) -> torch.Tensor:
    """Return one matrix."""
    draw = torch.Generator().manual_seed(seed)
    return (torch.randn(ROWS, COLUMNS, generator=draw) / 50).to(torch.bfloat16)


def folder_of(
    parts: State,
    folder: Path,
    config: Mapping[str, object] = CONFIG,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write a folder of safetensors."""
    save_file(parts, folder / "model.safetensors", metadata=metadata)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))


def plain(folder: Path, W: torch.Tensor, layers: int) -> None:
    """Write safetensors."""
    folder_of(state(W, layers), folder)


def zipped(folder: Path, W: torch.Tensor, layers: int) -> None:
    """Write torch's archive."""
    torch.save(state(W, layers), folder / "pytorch_model.bin")


def distributed(folder: Path, W: torch.Tensor, layers: int) -> None:
    """Write a distributed checkpoint."""
    with warnings.catch_warnings(), redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        dcp.save(state(W, layers), checkpoint_id=folder, no_dist=True)


def gguf_of(kind: gguf.GGMLQuantizationType) -> Writer:
    """Write a GGUF file of one type."""

    def write(folder: Path, W: torch.Tensor, layers: int) -> None:
        writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
        writer.add_block_count(layers)
        raw = gguf.quants.quantize(W.float().numpy(), kind)
        for i in range(layers):
            writer.add_tensor(f"blk.{i}.ffn_up.weight", raw, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return write


def packed(pack: Packer, **config: object) -> Writer:
    """Write what bitsandbytes, GPTQ, AWQ and DeepSeek publish."""

    def write(folder: Path, W: torch.Tensor, layers: int) -> None:
        folder_of(_repeated(pack("m.weight", W)[0], layers), folder, config)

    return write


def laid_out(kind: str) -> Writer:
    """Write a layout of few bits."""

    def write(folder: Path, W: torch.Tensor, layers: int) -> None:
        found = LAYOUTS[kind](W.float())
        folder_of(_repeated(found.parts, layers), folder, found.config, metadata=found.metadata)

    return write


def _repeated(parts: Mapping[str, torch.Tensor], layers: int) -> State:
    """Return the parts of one weight, `m.…`, for every layer; what is of no module stays."""
    modules = [name.removesuffix(".weight") for name in names(layers)]
    own = {name[1:]: part for name, part in parts.items() if name.startswith("m.")}
    rest = {name: part for name, part in parts.items() if not name.startswith("m.")}
    return rest | {f"{module}{end}": own[end].clone() for module in modules for end in own}


def writers() -> dict[str, Writer]:
    """Return every container and scheme by name; a copy in safetensors is the first."""
    kinds = gguf.GGMLQuantizationType
    gptq_config = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}
    awq_config = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 16}}
    return {
        "safetensors": plain,
        "torch.save": zipped,
        "dcp.save": distributed,
        **{f"GGUF {kind.name}": gguf_of(kind) for kind in (kinds.BF16, kinds.Q8_0, kinds.Q4_0)},
        "bitsandbytes nf4": packed(four_bits()),
        "bitsandbytes int8": packed(eight_bits),
        "float 8 in blocks": packed(float8_blocks(128)),
        "GPTQ": packed(gptq(group=128), **gptq_config),
        "GPTQ, act order": packed(gptq(shuffled=True, group=128), **gptq_config),
        "AWQ": packed(awq, **awq_config),
        **{kind: laid_out(kind) for kind in FEW_BITS},
    }


def private(pid: int) -> int:
    """Return the anonymous bytes of a process and its children."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    own = [int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")]
    return sum(own) * 1024 + sum(private(int(child)) for child in children)


def run(command: list[str]) -> tuple[float, int, str]:
    """Return a process's seconds, private bytes at most, and what it printed."""
    start, most = time.perf_counter(), 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        while process.poll() is None:
            most = max(most, private(process.pid))
            time.sleep(0.005)
        seconds = time.perf_counter() - start
        output.seek(0)
        printed = "" if command[0] == "cat" else output.read().decode()
    if process.returncode:
        sys.exit(f"{command}: {printed}")
    return seconds, most, printed


def measured(base: Path, tuned: Path) -> tuple[float, int, float, str]:
    """Return seconds, private bytes, the seconds of `cat`, and the printed relative norm."""
    files = [str(file) for folder in (base, tuned) for file in folder.iterdir()]
    run(["cat", *files])
    cat, _, _ = run(["cat", *files])
    command = [sys.executable, "-m", "ftdiff", "compare", str(base), str(tuned)]
    seconds, most, printed = run(command)
    found = re.search(r"relative_norm (\S+)", printed)
    return seconds, most, cat, found[1] if found else "0"


def lines(gigabytes: float, only: str) -> Iterator[str]:
    """Yield the lines of the table."""
    each = ROWS * COLUMNS * 2
    layers = max(1, round(gigabytes * 1e9 / each))
    yield f"{layers * each / 1e9:.2f} GB in bfloat16. Written by `tests/bench/containers.py`.\n"
    yield "| | GB | relative norm | private MB | seconds | × cat |"
    yield "| --- | --- | --- | --- | --- | --- |"
    with tempfile.TemporaryDirectory() as name:
        base = Path(name) / "base"
        base.mkdir()
        plain(base, weights(), layers)
        for kind, write in writers().items():
            if only not in kind:
                continue
            tuned = Path(name) / "tuned"
            tuned.mkdir()
            write(tuned, weights(), layers)
            size = sum(file.stat().st_size for file in tuned.iterdir()) / 1e9
            seconds, most, cat, norm = measured(base, tuned)
            shutil.rmtree(tuned)
            told = (
                f"{size:.2f}",
                norm,
                f"{most / 1e6:.0f}",
                f"{seconds:.1f}",
                f"{seconds / cat:.1f}",
            )
            yield f"| {kind} | {' | '.join(told)} |"


def main() -> None:
    """Print the table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=0.256, help="of the original")
    parser.add_argument("--only", default="", help="what the names of lines hold")
    parser.add_argument("--out", type=Path, help="a file to write")
    asked = parser.parse_args()
    written = []
    for line in lines(asked.gigabytes, asked.only):
        print(line, flush=True)
        written.append(line)
    if asked.out:
        asked.out.write_text("\n".join(written) + "\n")


if __name__ == "__main__":
    main()
