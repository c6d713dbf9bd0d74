"""A run that is killed at random moments, and resumed: the same bytes, in less time.

    python -m tests.bench.kills [--command importance] [--moments 10] [--layers 10] [--size 768]
                                [--out kills.md]

`ftdiff compare -m spectral -o DIR` on a base and a dense fine-tune, or `ftdiff importance -o DIR`
on a small Llama and one of which a layer moved, in processes of their own. Each time a new folder:
SIGKILL at a moment drawn evenly from the length of an undisturbed run, then the same command once
more. Compared are diff.json (but for `created`), the tables and the picture with those of the
undisturbed run. Time is CPU-seconds of the second command, start-up, pictures and page included;
the moment is where the killed run was in its own CPU-seconds.
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
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

WORDS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")


@dataclass(frozen=True)
class Subject:
    """A command without its folder, the files beside diff.json that are compared, what it is of."""

    words: list[str]
    files: tuple[str, ...]
    of: str


def matrices(folder: Path, layers: int, size: int) -> Subject:
    """Write a base and a fine-tune of square matrices in bfloat16, to be compared."""
    draw = torch.Generator().manual_seed(0)
    names = [f"model.layers.{i}.{word}.weight" for i in range(layers) for word in WORDS]
    base = {name: 0.02 * torch.randn(size, size, generator=draw) for name in names}
    tuned = {n: W + 0.001 * torch.randn(size, size, generator=draw) for n, W in base.items()}
    for side, held in (("base", base), ("tuned", tuned)):
        (folder / side).mkdir()
        stored = {name: W.bfloat16() for name, W in held.items()}
        save_file(stored, folder / side / "model.safetensors")
    sides = [str(folder / side) for side in ("base", "tuned")]
    return Subject(
        ["compare", *sides, "-m", "spectral", "-m", "relative_norm"],
        ("diff.csv", "heatmap.png"),
        f"{4 * layers} matrices of {size}², `ftdiff compare -m spectral`",
    )


def running(folder: Path, layers: int, size: int) -> Subject:
    """Write a Llama, a fine-tune and texts, on which worth is measured."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.analyses.live_models import moved, saved, token_rows, written

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=500, hidden_size=size, intermediate_size=2 * size, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    base = LlamaForCausalLM(config)
    sides = [saved(base, folder / "base"), saved(moved(base, ["layers.1."]), folder / "tuned")]
    text = written(token_rows(16, 64, vocab=500), folder / "texts.jsonl")
    return Subject(
        ["importance", *map(str, sides), "--text", str(text)],
        ("diff.csv", "layers.csv", "importance.png"),
        f"A Llama of {layers} layers of {size}, 16 texts of 64 tokens, `ftdiff importance`",
    )


SUBJECTS = {"compare": (matrices, 768), "importance": (running, 256)}


def spent() -> float:
    """Return the CPU-seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def call(subject: Subject, out: Path) -> list[str]:
    """Return the command."""
    return [sys.executable, "-m", "ftdiff", *subject.words, "-o", str(out)]


def whole(subject: Subject, out: Path) -> tuple[float, str]:
    """Run to the end; return CPU-seconds and what was said."""
    before = spent()
    done = subprocess.run(call(subject, out), check=True, capture_output=True, text=True)
    return spent() - before, done.stderr


def killed(subject: Subject, out: Path, moment: float) -> None:
    """Run, and kill when the process has used so many CPU-seconds."""
    quiet = subprocess.DEVNULL
    run = subprocess.Popen(call(subject, out), stdout=quiet, stderr=quiet)
    ticks = os.sysconf("SC_CLK_TCK")
    while run.poll() is None:
        fields = Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / ticks >= moment:
            run.kill()
        time.sleep(0.01)
    run.wait()


def held(subject: Subject, out: Path) -> list[object]:
    """Return what was written, without the time at which it was."""
    document = json.loads((out / "diff.json").read_text())
    del document["about"]["created"]
    return [document, *((out / name).read_bytes() for name in subject.files)]


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", choices=[*SUBJECTS], default="compare")
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--size", type=int)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make, size = SUBJECTS[asked.command]
        subject = make(folder, asked.layers, asked.size or size)
        whole(subject, folder / "warm")
        length, _ = whole(subject, folder / "undisturbed")
        expected = held(subject, folder / "undisturbed")
        again, _ = whole(subject, folder / "undisturbed")
        lines = [
            f"{subject.of}; written by `python -m tests.bench.kills --command {asked.command}`.",
            "",
            f"Undisturbed: {length:.1f} CPU-s; once more, when all is kept: {again:.1f} CPU-s.",
            "",
            "| killed after CPU-s | kept of the phase that was cut | resumed in CPU-s | same |",
            "| --- | --- | --- | --- |",
        ]
        draw = random.Random(0)
        for i, share in enumerate(sorted(draw.random() for _ in range(asked.moments))):
            out = folder / str(i)
            killed(subject, out, share * length)
            seconds, said = whole(subject, out)
            kept = [line for line in said.splitlines() if "are kept" in line or "is kept" in line]
            words = kept[-1].partition(" from")[0] if kept else "nothing"
            same = "yes" if held(subject, out) == expected else "NO"
            lines.append(f"| {share * length:.1f} | {words} | {seconds:.1f} | {same} |")
    text = "\n".join(lines)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
