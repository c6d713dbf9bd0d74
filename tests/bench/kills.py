"""A run that is killed at random moments, and resumed: the same bytes, in less time.

    python -m tests.bench.kills [--moments 10] [--layers 10] [--size 768] [--out kills.md]

`ftdiff compare -m spectral -o DIR` on a base and a dense fine-tune, in processes of their own. Each
time a new folder: SIGKILL at a moment drawn evenly from the length of an undisturbed run, then the
same command once more. Compared are diff.json (but for `created`), diff.csv and heatmap.png with
those of the undisturbed run. Time is CPU-seconds of the second command, start-up, pictures and page
included; the moment is where the killed run was in its own CPU-seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

FILES = ("diff.json", "diff.csv", "heatmap.png")
WORDS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")


def models(folder: Path, layers: int, size: int) -> list[str]:
    """Write a base and a fine-tune of square matrices in bfloat16."""
    draw = torch.Generator().manual_seed(0)
    names = [f"model.layers.{i}.{word}.weight" for i in range(layers) for word in WORDS]
    base = {name: 0.02 * torch.randn(size, size, generator=draw) for name in names}
    tuned = {n: W + 0.001 * torch.randn(size, size, generator=draw) for n, W in base.items()}
    for side, held in (("base", base), ("tuned", tuned)):
        (folder / side).mkdir()
        stored = {name: W.bfloat16() for name, W in held.items()}
        save_file(stored, folder / side / "model.safetensors")
    return [str(folder / side) for side in ("base", "tuned")]


def spent() -> float:
    """Return the CPU-seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def call(sides: list[str], out: Path) -> list[str]:
    """Return the command."""
    words = ["compare", *sides, "-m", "spectral", "-m", "relative_norm", "-o", str(out)]
    return [sys.executable, "-m", "ftdiff", *words]


def whole(sides: list[str], out: Path) -> tuple[float, str]:
    """Run to the end; return CPU-seconds and what was said."""
    before = spent()
    done = subprocess.run(call(sides, out), check=True, capture_output=True, text=True)
    return spent() - before, done.stderr


def killed(sides: list[str], out: Path, moment: float) -> None:
    """Run, and kill when the process has used so many CPU-seconds."""
    quiet = subprocess.DEVNULL
    run = subprocess.Popen(call(sides, out), stdout=quiet, stderr=quiet)
    ticks = os.sysconf("SC_CLK_TCK")
    while run.poll() is None:
        fields = Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / ticks >= moment:
            run.kill()
        time.sleep(0.01)
    run.wait()


def held(out: Path) -> list[object]:
    """Return what was written, without the time at which it was."""
    document = json.loads((out / FILES[0]).read_text())
    del document["about"]["created"]
    return [document, *((out / name).read_bytes() for name in FILES[1:])]


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sides = models(folder, asked.layers, asked.size)
        whole(sides, folder / "warm")
        length, _ = whole(sides, folder / "undisturbed")
        expected = held(folder / "undisturbed")
        again, _ = whole(sides, folder / "undisturbed")
        lines = [
            f"{4 * asked.layers} matrices of {asked.size}², `-m spectral`; written by "
            "`python -m tests.bench.kills`.",
            "",
            f"Undisturbed: {length:.1f} CPU-s; once more, when all is kept: {again:.1f} CPU-s.",
            "",
            "| killed after CPU-s | kept of the phase that was cut | resumed in CPU-s | same |",
            "| --- | --- | --- | --- |",
        ]
        draw = random.Random(0)
        for i, share in enumerate(sorted(draw.random() for _ in range(asked.moments))):
            out = folder / str(i)
            killed(sides, out, share * length)
            seconds, said = whole(sides, out)
            kept = [line for line in said.splitlines() if "are kept" in line or "is kept" in line]
            words = kept[-1].partition(" from")[0] if kept else "nothing"
            same = "yes" if held(out) == expected else "NO"
            lines.append(f"| {share * length:.1f} | {words} | {seconds:.1f} | {same} |")
    text = "\n".join(lines)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
