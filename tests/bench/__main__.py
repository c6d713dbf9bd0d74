"""One table of what ftdiff costs: against `cat`, the usual script and others, and how it grows.

    python -m tests.bench [--gigabytes 0.5] [--rounds 3] [--only pair sizes tensors many workers]

Every way of a row's kind runs once a round on the same files, which are read in anew before, and a
ratio is of two runs of one round: its median is printed, with the least and the largest. All are
whole processes. Private memory is the largest anonymous size seen. What others need and is not
installed here is left out, and said.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from tests.bench.compare_rate import NAIVE
from tests.bench.inputs import checkpoint, files
from tests.bench.table import HEAD, Case, lines

FTDIFF = [sys.executable, "-m", "ftdiff"]
WATCHER = """
import sys
from pathlib import Path
from safetensors.torch import load_file
import weightwatcher
def load(folder):
    state = {}
    for shard in sorted(Path(folder).glob("*.safetensors")):
        state |= load_file(shard)
    return state
weightwatcher.WeightWatcher().distances(load(sys.argv[1]), load(sys.argv[2]))
"""
#: By name, the modules that a script needs, and the script, given both folders.
SCRIPTS = {
    "load both, torch norms": (("torch", "safetensors"), NAIVE),
    "WeightWatcher distances": (("weightwatcher", "torch"), WATCHER),
}
#: Tensors of the pair, unless it is their number that varies.
_TENSORS = 56
_COUNTS = (10, 100, 1_000, 10_000)
_MODELS = (2, 4, 8, 16)
_LEAST = 1 << 10  # bytes of a tensor


def pair(root: Path, options: argparse.Namespace) -> Iterator[Case]:
    """Compare two checkpoints, in all ways there are."""
    base, tuned = _pair(root, options.size, _TENSORS)
    ways = {"ftdiff compare": [*FTDIFF, "compare", base, tuned]}
    for name, (modules, script) in SCRIPTS.items():
        if all(map(find_spec, modules)):
            ways[name] = [sys.executable, "-c", script, base, tuned]
        else:
            print(f"{name}: not installed, left out", file=sys.stderr)
    for said in options.peer:
        name, _, command = said.partition("=")
        ways[name] = [word.format(base=base, tuned=tuned) for word in shlex.split(command)]
    yield Case("a pair", files(Path(base), Path(tuned)), ways)


def sizes(root: Path, options: argparse.Namespace) -> Iterator[Case]:
    """Compare ever larger checkpoints."""
    for part in (4, 2, 1):
        yield _compared(root / f"size-{part}", options.size / part, _TENSORS, f"1/{part} of it")


def tensors(root: Path, options: argparse.Namespace) -> Iterator[Case]:
    """Compare as many bytes in ever more tensors."""
    for count in _COUNTS:
        if options.size >= count * _LEAST:
            where = root / f"tensors-{count}"
            yield _compared(where, options.size, count, f"{count:,} tensors")


def many(root: Path, options: argparse.Namespace) -> Iterator[Case]:
    """Compare ever more fine-tunes with each other, all of them as large as the pair together."""
    for count in _MODELS:
        folder = root / f"many-{count}"
        folder.mkdir()
        size = 2 * options.size / (count + 1)
        made = [checkpoint(folder / f"m{i}", size, _TENSORS, i) for i in range(count + 1)]
        base, *others = map(str, made)
        command = [*FTDIFF, "similarity", *others, "--base", base]
        yield Case(f"{count} fine-tunes", files(*made), {"ftdiff similarity": command})


def workers(root: Path, options: argparse.Namespace) -> Iterator[Case]:
    """Compare with more threads and processes."""
    base, tuned = _pair(root / "workers", options.size, _TENSORS)
    cores = len(os.sched_getaffinity(0))
    ways = {
        f"ftdiff compare {flag} {count}": [*FTDIFF, "compare", base, tuned, flag, str(count)]
        for flag in ("-j", "--processes")
        for count in sorted({1, 2, cores})
    }
    yield Case("workers", files(Path(base), Path(tuned)), ways)


KINDS: dict[str, Callable[[Path, argparse.Namespace], Iterator[Case]]] = {
    "pair": pair,
    "sizes": sizes,
    "tensors": tensors,
    "many": many,
    "workers": workers,
}


def _pair(root: Path, size: float, count: int) -> tuple[str, str]:
    root.mkdir(exist_ok=True)
    base, tuned = (checkpoint(root / f"m{i}", size, count, i) for i in range(2))
    return str(base), str(tuned)


def _compared(root: Path, size: float, count: int, what: str) -> Case:
    base, tuned = _pair(root, size, count)
    command = [*FTDIFF, "compare", base, tuned]
    return Case(what, files(Path(base), Path(tuned)), {"ftdiff compare": command})


def _told(rounds: int) -> str:
    """Say on what machine it runs, and whether anything else does."""
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    quiet = "quiet" if load < 0.3 else "NOT QUIET: other work ran, compare the CPU columns only"
    return f"{cores} cores, load {load:.1f} before the first round ({quiet}); {rounds} rounds.\n"


def main(args: list[str] | None = None) -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=0.5, help="of each checkpoint")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=[*KINDS], metavar="KIND",
                        help=f"some of: {', '.join(KINDS)}")  # fmt: skip
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND",
                        help="another way: a command with {base} and {tuned} in it")  # fmt: skip
    parser.add_argument("--folder", type=Path, help="where to write files for the time it takes")
    options = parser.parse_args(args)
    options.size = options.gigabytes * 1e9
    print(_told(options.rounds))
    print(HEAD, flush=True)
    for kind in options.only:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for case in KINDS[kind](Path(folder), options):
                for line in lines(case, options.rounds):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
