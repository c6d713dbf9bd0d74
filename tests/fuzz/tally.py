"""What has come of many cases: how many of each kind, what was wrong, the longest, the largest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.forked import Outcome

_CODES = {0: "a result", 1: "a verdict", 2: "one line"}


@dataclass
class Tally:
    """What has come of the cases; tallies of shares add up."""

    codes: Counter[str] = field(default_factory=Counter)
    cases: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    cpu: tuple[float, str] = (0.0, "")
    memory: tuple[int, str] = (0, "")

    def count(self, name: str, done: Outcome) -> None:
        """Count one more."""
        self.cases[name] += 1
        self.codes["wrong" if done.wrong else _CODES.get(done.code, "wrong")] += 1
        self.cpu = max(self.cpu, (done.cpu, name))
        self.memory = max(self.memory, (done.memory, name))
        if done.wrong:
            self.wrong.append(done.wrong)

    def plus(self, other: Tally) -> Tally:
        """Return both together."""
        return Tally(
            self.codes + other.codes,
            self.cases + other.cases,
            self.wrong + other.wrong,
            max(self.cpu, other.cpu),
            max(self.memory, other.memory),
        )

    def plain(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {**vars(self)}

    @staticmethod
    def of(held: dict[str, Any]) -> Tally:
        """Return what `plain` gave."""
        counts = (Counter(held["codes"]), Counter(held["cases"]), held["wrong"])
        (cpu, long), (memory, large) = held["cpu"], held["memory"]
        return Tally(*counts, (cpu, long), (memory, large))

    def summary(self, seed: int, kinds: int, out: Path | None) -> str:
        """Say it in lines; with a table of the kinds of files, into a file if one is given."""
        total = self.cases.total()
        came = ", ".join(f"{what} {count:,}" for what, count in sorted(self.codes.items()))
        over = "over the process that forks"
        lines = [
            f"{total:,} cases of {kinds} kinds of files, seed {seed}: "
            f"{len(self.wrong)} went wrong.",
            f"What came out: {came}.",
            f"Longest: {self.cpu[0]:.2f} CPU-s ({self.cpu[1]}).",
            f"Largest: {self.memory[0] / 1e6:.0f} MB {over} ({self.memory[1]}).",
        ]
        if out is not None:
            head = f"Written by `python -m tests.fuzz.run --cases {total} --seed {seed}`.\n\n"
            body = "\n".join(f"* {line}" for line in lines)
            rows = "\n".join(f"| {name} | {n:,} |" for name, n in sorted(self.cases.items()))
            out.write_text(f"{head}{body}\n\n| damaged | cases |\n| --- | --- |\n{rows}\n")
        return "\n".join(lines)
