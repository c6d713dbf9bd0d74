"""Damage good files at random, and open them: only a result or ftdiff's own line may come out.

    python -m tests.fuzz.run [--cases 5000] [--seed 0] [--workers 2] [--out fuzz.md]
    python -m tests.fuzz.run --seed 0 --case 1234 --keep DIR      (one case, its files kept)

Good files of every format, configuration and saved result are written; each case copies one,
damages one of its files, or puts one that Hypothesis drew in its place, and runs a command on it in
a fork of a process that has imported everything and, but for --cold, has run what it damages
undamaged. A traceback, a signal,
more than 4 CPU-seconds or 400 MB over the fork, a second line of error, a control character in what
is printed: each is a failure, and is printed with what reproduces it. (What is executed, left
half-written, or shown in pages and tables: `test_hostile`.)
"""

from __future__ import annotations

if __name__ == "__main__":
    from tests.fuzz.alone import be_alone

    be_alone()

import argparse
import gc
import importlib
import json
import os
import pkgutil
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from tests.fuzz import forked, mutations, specimens, warming
from tests.fuzz.specimens import Specimen
from tests.fuzz.tally import Tally

#: One case of so many needs peft or transformers: a process that has imported them forks slowly.
HEAVY = 5


def prepare() -> None:
    """Import all of ftdiff, and what it draws, signs and runs models with."""
    import ftdiff

    for module in pkgutil.walk_packages(ftdiff.__path__, "ftdiff."):
        if not module.name.startswith(("ftdiff.integrations", "ftdiff.__main__")):
            importlib.import_module(module.name)
    for name in ("pandas", "seaborn", "matplotlib.pyplot", "gguf", "scipy.stats", "cryptography"):
        importlib.import_module(name)


def of_case(number: int, every: Sequence[Specimen]) -> Specimen:
    """Return the specimen of a case: each in its turn, of those that need peft every fifth."""
    light, heavy = ([one for one in every if one.heavy is kind] for kind in (False, True))
    if not light or (heavy and number % HEAVY == HEAVY - 1):
        return heavy[number // HEAVY % len(heavy)]
    return light[(number - number // HEAVY) % len(light)]


def case(number: int, seed: int, specimen: Specimen, at: Path) -> tuple[list[str], forked.Outcome]:
    """Run one case in a folder that is made for it."""
    draw = Random(f"{seed}:{number}")
    folder = at / "case"
    shutil.copytree(specimen.folder, folder)
    target = folder / specimen.target
    target.write_bytes(mutations.mutated(target.read_bytes(), specimen.kind, draw, seed))
    command = specimen.command(draw.choice(specimen.commands), folder)
    return command, forked.run(command, at)


def main() -> int:
    """Run the cases; return how many went wrong, at most 1."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--cases", type=int, default=5000)
    told.add_argument("--seed", type=int, default=0)
    told.add_argument("--workers", type=int, default=1, help="Processes that fork.")
    told.add_argument("--case", type=int)
    told.add_argument("--keep", type=Path)
    told.add_argument("--only", default="", help="Specimens whose names hold this.")
    told.add_argument("--good", type=Path, help="Where `specimens.write` wrote the good files.")
    told.add_argument("--cold", action="store_true", help="Do not try the good files first.")
    told.add_argument("--out", type=Path)
    given = told.parse_args()
    sys.setswitchinterval(1)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as at:
        root = Path(at)
        every = [one for one in _specimens(given.good, root) if given.only in one.name]
        prepare()
        numbers = range(given.cases) if given.case is None else [given.case]
        begun = time.monotonic()
        shares = _shares(numbers, every, given.workers)
        tally = _together(shares, given, every, root)
        print(tally.summary(given.seed, len(every), given.out))
        print(f"{time.monotonic() - begun:.0f} s.")
    return min(1, len(tally.wrong))


def _shares(numbers: Sequence[int], every: Sequence[Specimen], workers: int) -> list[list[int]]:
    """Share cases by what they damage: a process warms up with its own specimens alone."""
    to = {one.name: i // 2 % workers for i, one in enumerate(every)}
    shares: list[list[int]] = [[] for _ in range(workers)]
    for number in numbers:
        shares[to[of_case(number, every).name]].append(number)
    return shares


def _together(
    shares: Sequence[Sequence[int]],
    given: argparse.Namespace,
    every: Sequence[Specimen],
    root: Path,
) -> Tally:
    """Run each share in a process of its own; one alone in this one."""
    if len(shares) == 1:
        return _share(shares[0], given, every, _made(root / "run"))
    children = {}
    for i, share in enumerate(shares):
        told = root / f"tally{i}.json"
        child = os.fork()
        if not child:
            code = 1
            try:
                tally = _share(share, given, every, _made(root / f"run{i}"))
                told.write_text(json.dumps(tally.plain()))
                code = 0
            except BaseException:  # noqa: BLE001
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stdout.flush()
                os._exit(code)
        children[child] = told
    whole = Tally()
    for child, told in children.items():
        if os.waitpid(child, 0)[1]:
            raise RuntimeError("a process that runs cases has died")
        whole = whole.plus(Tally.of(json.loads(told.read_text())))
    return whole


def _share(
    numbers: Sequence[int], given: argparse.Namespace, every: Sequence[Specimen], room: Path
) -> Tally:
    tally = Tally()
    of = {number: of_case(number, every) for number in numbers}
    for heavy in (False, True):
        mine = [number for number in numbers if of[number].heavy is heavy]
        if not mine:
            continue
        if heavy:
            importlib.import_module("peft")
        if not given.cold:
            used = {of[number].name: of[number] for number in mine}
            warming.warm([*used.values()], _made(room / "warm"))
        forked.wait_for_quiet()
        gc.collect()
        gc.freeze()  # a collection in a fork would write to, and so copy, every page
        for number in mine:
            _one(number, of[number], given, room, tally)
    return tally


def _one(
    number: int, specimen: Specimen, given: argparse.Namespace, room: Path, tally: Tally
) -> None:
    command, done = case(number, given.seed, specimen, room)
    tally.count(specimen.name, done)
    if done.wrong:
        at = f"--seed {given.seed} --case {number}"
        print(f"{at}: {specimen.name}, {command[0]}: {done.wrong}", flush=True)
    if given.keep is not None:
        shutil.copytree(room, given.keep, dirs_exist_ok=True)
        print(specimen.name, command, done.said, sep="\n")
    shutil.rmtree(room / "case")


def _specimens(good: Path | None, at: Path) -> list[Specimen]:
    return specimens.build(_made(at / "good")) if good is None else specimens.read(good)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


if __name__ == "__main__":
    sys.exit(main())
