"""Damage good files at random, and open them: only a result or ftdiff's own line may come out.

    python -m tests.fuzz.run [--cases 5000] [--seed 0] [--out fuzz.md]
    python -m tests.fuzz.run --seed 0 --case 1234 --keep DIR      (one case, its files kept)

Good files of every format, configuration and saved result are written; each case copies one,
damages one of its files, and runs a command on it in a fork of a process that has imported
everything. A traceback, a signal, more than 4 CPU-seconds or 400 MB over the fork, a second line
of error, a control character in what is printed: each is a failure, and is printed with what
reproduces it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz import forked, mutations, specimens
from tests.fuzz.specimens import Specimen


@dataclass
class Tally:
    """What has come of the cases."""

    codes: Counter[str] = field(default_factory=Counter)
    cases: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    cpu: tuple[float, str] = (0.0, "")
    memory: tuple[int, str] = (0, "")


def prepare() -> None:
    """Import all of ftdiff, and what it draws with."""
    import ftdiff

    for module in pkgutil.walk_packages(ftdiff.__path__, "ftdiff."):
        if not module.name.startswith(("ftdiff.integrations", "ftdiff.__main__")):
            importlib.import_module(module.name)
    for name in ("pandas", "seaborn", "matplotlib.pyplot", "gguf", "scipy.stats", "cryptography"):
        importlib.import_module(name)


def case(
    number: int, seed: int, every: list[Specimen], at: Path
) -> tuple[Specimen, list[str], forked.Outcome]:
    """Run one case in a folder that is made for it."""
    draw = Random(f"{seed}:{number}")
    specimen = every[number % len(every)]
    folder = at / "case"
    shutil.copytree(specimen.folder, folder)
    target = folder / specimen.target
    target.write_bytes(mutations.mutated(target.read_bytes(), specimen.kind, draw))
    base = specimen.folder.parent / "base"
    words = draw.choice(specimen.commands)
    command = [word.replace("{base}", str(base)).replace("{}", str(folder)) for word in words]
    return specimen, command, forked.run(command, at)


def warm(every: list[Specimen], at: Path) -> None:
    """Run every command on good files, in forks: compiled kernels are then on the disk.

    Raises
    ------
    RuntimeError
        A command fails on good files, so that what it says of damaged ones means nothing.
    """
    failed = []
    for specimen in every:
        for words in dict.fromkeys(specimen.commands):
            folder = at / "case"
            shutil.copytree(specimen.folder, folder)
            base = specimen.folder.parent / "base"
            command = [w.replace("{base}", str(base)).replace("{}", str(folder)) for w in words]
            done = forked.run(command, at)
            shutil.rmtree(folder)
            if done.wrong or done.code == 2:
                failed.append(f"{specimen.name}, not damaged: {command}: {done.wrong}\n{done.said}")
    if failed:
        raise RuntimeError("\n".join(failed))


def main() -> int:
    """Run the cases; return how many went wrong, at most 1."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--cases", type=int, default=5000)
    told.add_argument("--seed", type=int, default=0)
    told.add_argument("--case", type=int)
    told.add_argument("--keep", type=Path)
    told.add_argument("--only", default="", help="Specimens whose names hold this.")
    told.add_argument("--good", type=Path, help="Where `specimens.write` wrote the good files.")
    told.add_argument("--cold", action="store_true", help="Do not try the good files first.")
    told.add_argument("--out", type=Path)
    given = told.parse_args()
    sys.setswitchinterval(1)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as at:
        every = _specimens(given.good, Path(at))
        every = [one for one in every if given.only in one.name]
        prepare()
        forked.wait_for_quiet()
        room = _made(Path(at) / "run")
        if not given.cold:
            warm(every, room)
        numbers = range(given.cases) if given.case is None else [given.case]
        tally, begun = Tally(), time.monotonic()
        for number in numbers:
            specimen, command, done = case(number, given.seed, every, room)
            _count(tally, number, given.seed, specimen, command, done)
            if given.keep is not None:
                shutil.copytree(room, given.keep, dirs_exist_ok=True)
                print(specimen.name, command, done.said, sep="\n")
            shutil.rmtree(room / "case")
        print(_summary(tally, time.monotonic() - begun, given.seed, len(every), given.out))
    return min(1, len(tally.wrong))


def _specimens(good: Path | None, at: Path) -> list[Specimen]:
    return specimens.build(_made(at / "good")) if good is None else specimens.read(good)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def _count(
    tally: Tally,
    number: int,
    seed: int,
    specimen: Specimen,
    command: list[str],
    done: forked.Outcome,
) -> None:
    tally.cases[specimen.name] += 1
    tally.codes[{0: "a result", 1: "a verdict", 2: "one line"}.get(done.code, "wrong")] += 1
    tally.cpu = max(tally.cpu, (done.cpu, specimen.name))
    tally.memory = max(tally.memory, (done.memory, specimen.name))
    if done.wrong:
        tally.wrong.append(done.wrong)
        print(
            f"--seed {seed} --case {number}: {specimen.name}, {command[0]}: {done.wrong}",
            flush=True,
        )


def _summary(tally: Tally, seconds: float, seed: int, kinds: int, out: Path | None) -> str:
    total = sum(tally.cases.values())
    came = ", ".join(f"{what} {count:,}" for what, count in sorted(tally.codes.items()))
    lines = [
        f"{total:,} cases of {kinds} kinds of files, seed {seed}: {len(tally.wrong)} went wrong.",
        f"What came out: {came}.",
        f"Longest: {tally.cpu[0]:.2f} CPU-s ({tally.cpu[1]}).",
        f"Largest: {tally.memory[0] / 1e6:.0f} MB over the process that forks ({tally.memory[1]}).",
    ]
    if out is not None:
        table = "\n".join(f"| {name} | {count:,} |" for name, count in tally.cases.items())
        head = f"Written by `python -m tests.fuzz.run --cases {total} --seed {seed}`.\n\n"
        body = "\n".join(f"* {line}" for line in lines)
        out.write_text(f"{head}{body}\n\n| damaged | cases |\n| --- | --- |\n{table}\n")
    return "\n".join([*lines, f"{seconds:.0f} s."])


if __name__ == "__main__":
    sys.exit(main())
