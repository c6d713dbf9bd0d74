"""Ways to do one thing, in alternating rounds on the same warm files: rows of a Markdown table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.timing import Failed, Run, run, timed, warm

HEAD = (
    "| what | way | GB | wall s | CPU s | wall × cat | CPU × cat | private MB |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True)
class Case:
    """What is done, on which files, and the ways to do it by their names; `cat` is one of them."""

    what: str
    files: Sequence[Path]
    ways: Mapping[str, Sequence[str]]


def lines(case: Case, rounds: int) -> Iterator[str]:
    """Run every way once a round, and yield a line for each: medians, and ratios with their spread.

    A ratio is of two runs of one round. What a way cannot do is said in its line.
    """
    ways = {"cat": ["cat", *map(str, case.files)], **case.ways}
    found: dict[str, list[Run]] = {name: [] for name in ways}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for name, command in ways.items():
            if name in failed:
                continue
            warm([*case.files])
            try:
                found[name].append(run([*command]))
            except Failed as error:
                failed[name] = str(error)
    size = sum(file.stat().st_size for file in case.files) / 1e9
    for name, runs in found.items():
        head = f"| {case.what} | {name} | {size:.3g} |"
        if name in failed:
            yield f"{head} {failed[name]} | | | | |"
            continue
        wall, cpu = (statistics.median(timed(one)[k] for one in runs) for k in range(2))
        private = statistics.median(one.private for one in runs) / 1e6
        ratios = " | ".join(ratio(runs, found["cat"], k) for k in range(2))
        yield f"{head} {wall:.2f} | {cpu:.2f} | {ratios} | {private:.0f} |"


def ratio(runs: Sequence[Run], cats: Sequence[Run], which: int) -> str:
    """Return the median of the rounds' ratios, and the least and the largest of them."""
    all_ = [
        timed(one)[which] / max(timed(cat)[which], 1e-3)
        for one, cat in zip(runs, cats, strict=True)
    ]
    return f"{statistics.median(all_):.3g} ({min(all_):.3g}–{max(all_):.3g})"
