"""What `ftdiff compare` says of planted kinds of change: a confusion table.

    python -m tests.bench.structure_power [--seeds 20] [--width 96] [BASE:TUNED …]

writes `structure_power.txt` beside itself, in five minutes of one core: a row for each planted
kind, and in how many of the seeds each rule spoke; then the models in `fixtures`. Where pairs of
other models are given, they have a row each, and nothing is written.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import ftdiff
from ftdiff.analyses.kind_of_change import BESIDE, DECIDING, kind_of_change
from ftdiff.comparison.reasons import reasons
from tests.analyses.planted_structures import KINDS, Planted

OUT = Path(__file__).with_suffix(".txt")
RULES = (*DECIDING, *BESIDE, "layers", "nothing")
FIXTURES = ("merged", "merged_f32", "full", "frozen")


def said(base: object, tuned: object) -> list[str]:
    """Return the rules that speak of a pair."""
    diff = ftdiff.compare(base, tuned)
    rules = [one.rule for one in kind_of_change(diff)]
    rules += ["layers"] if [*reasons(diff.about, "layers")] else []
    return rules or ["nothing"]


def rows(seeds: int, width: int, pairs: list[str]) -> list[tuple[str, str, Counter[str]]]:
    """Count for each kind, and for each pair of models, what is said."""
    found = []
    for kind, (plant, right) in KINDS.items():
        told: Counter[str] = Counter()
        for seed in range(seeds):
            planted = Planted(seed, width)
            told.update(said(planted.base, plant(planted)))
        found.append((kind, right or "nothing", told))
        print(kind, dict(told), "" if set(told) == {*(right or "nothing").split()} else "<" * 8)
    for name in FIXTURES:
        found.append((f"fixtures/{name}", "", Counter(said("fixtures/base", f"fixtures/{name}"))))
    for pair in pairs:
        base, tuned = pair.split(":")
        found.append((tuned[-30:], "", Counter(said(base, tuned))))
        print(pair, found[-1][2])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("pairs", nargs="*")
    options = parser.parse_args()
    short = (rule.removeprefix("edited-").removeprefix("tuned-on-") for rule in RULES)
    lines = ["planted".ljust(34) + "".join(rule.rjust(12) for rule in short)]
    for kind, _, told in rows(options.seeds, options.width, options.pairs):
        lines.append(kind.ljust(34) + "".join(f"{told[rule] or '·'}".rjust(12) for rule in RULES))
    if not options.pairs:
        OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
