"""A shard that is cut short or written while it is read: no signal, and no row but the right one.

    python -m tests.bench.spoiled_shards > tests/bench/spoiled_shards.md

A pair of checkpoints is compared in a process of its own. After a random number of its tasks a
shard of one side is spoiled in one of five ways. Every row has to be the undisturbed one, to the
last bit, or to say that its tensor could not be read.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

TRIALS, TENSORS, SIDE = 20, 32, 1536

_CHILD = """
import json, sys
import ftdiff
def progress(done, total):
    print("task", flush=True)
diff = ftdiff.compare(sys.argv[1], sys.argv[2], progress=progress)
columns = ["tensor", "status", "delta_sq", "base_sq", "inner", "delta_max", "unequal"]
print("done", diff.frame[columns].to_json(orient="values", double_precision=15))
"""


def pair(folder: Path) -> None:
    """Write a base and a fine-tune of two shards each."""
    for side in ("base", "tuned"):
        (folder / side).mkdir()
        for shard in (1, 2):
            chance, change = np.random.default_rng(shard), np.random.default_rng(10 + shard)
            tensors = {}
            for number in range(TENSORS // 2):
                W = chance.standard_normal((SIDE, SIDE), np.float32)
                if side == "tuned":
                    W += np.float32(1e-3) * change.standard_normal((SIDE, SIDE), np.float32)
                name = f"model.layers.{(shard - 1) * TENSORS // 2 + number}.mlp.up_proj.weight"
                tensors[name] = W
            save_file(tensors, folder / side / f"model-{shard:05d}-of-00002.safetensors")


def cut(path: Path) -> None:
    """Leave nothing of it."""
    with path.open("r+b") as file:
        file.truncate(0)


def halve(path: Path) -> None:
    """Leave half of it."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def write_over(path: Path) -> None:
    """Write other numbers in place of its own."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 8)
        file.write(b"\x11" * (size // 2))


def save_again(path: Path) -> None:
    """Save it anew, as a trainer does: cut to nothing, then written."""
    path.write_bytes(b"\x22" * path.stat().st_size)


def replace(path: Path) -> None:
    """Put another file in its place."""
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes()[:-4] + b"\x33" * 4)
    other.replace(path)


WAYS: tuple[Callable[[Path], None], ...] = (cut, halve, write_over, save_again, replace)


def compare(folder: Path, after: int, spoil: Callable[[], None]) -> tuple[int, list[list[object]]]:
    """Return a comparison's exit code and rows, with something done after so many tasks."""
    command = [sys.executable, "-c", _CHILD, str(folder / "base"), str(folder / "tuned")]
    rows: list[list[object]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for count, line in enumerate(child.stdout):
            if count == after:
                spoil()
            if line.startswith("done"):
                rows = json.loads(line.removeprefix("done"))
    return child.returncode, rows


def main() -> None:
    """Print a table of what became of every trial."""
    chance = random.Random(17)
    print("| trial | spoiled | after task | exit | right | unreadable | wrong |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pair(folder)
        whole = folder / "whole.safetensors"
        code, right = compare(folder, -1, lambda: None)
        assert code == 0 and len(right) == TENSORS
        for trial in range(TRIALS):
            way = WAYS[trial % len(WAYS)]
            side, shard = chance.choice(("base", "tuned")), chance.choice((1, 2))
            path = folder / side / f"model-{shard:05d}-of-00002.safetensors"
            shutil.copy(path, whole)
            after = chance.randrange(12)
            code, rows = compare(folder, after, lambda path=path, way=way: way(path))
            lost = sum(row[1] == "unreadable" for row in rows)
            same = sum(row in right for row in rows)
            wrong = len(rows) - lost - same
            total.update(right=same, unreadable=lost, wrong=wrong, signals=code < 0)
            print(f"| {trial + 1} | {way.__name__} {side} {shard} | {after} | {code} | {same} "
                  f"| {lost} | {wrong} |", flush=True)  # fmt: skip
            shutil.copy(whole, path)
    print(f"\nRows right {total['right']}, unreadable {total['unreadable']}, wrong "
          f"{total['wrong']}; processes ended by a signal {total['signals']}.")  # fmt: skip


if __name__ == "__main__":
    main()
