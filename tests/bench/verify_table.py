"""Which merges `ftdiff verify` accepts and rejects: orders × dtypes, mistakes × dtypes × change.

python tests/bench/verify_table.py > tests/bench/verify_table.md
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import ftdiff
from tests.analyses.merges import DTYPES, ORDERS, WRONG, Pair, base_of, llama, lora

CHANGES = (0.003, 0.01, 0.03, 0.1)
GOOD = ("merged", "merged_within_rounding")


def main() -> None:
    warnings.simplefilter("ignore")
    model = llama(hidden=128, layers=4)
    with tempfile.TemporaryDirectory() as folder:
        pairs = {c: lora(Path(folder) / str(c), model, c) for c in CHANGES}
        targets = {name: model.state_dict()[name].numel() for name in pairs[0.01].changes}
        shown = [f"{c:.1%}" for c in CHANGES]
        print("# What `ftdiff verify` accepts and rejects\n")
        print(
            f"{len(targets)} targets, {sum(targets.values()):,} entries; rank 4, scale 6/4; float32"
        )
        print("factors. The change is ‖ΔW‖/‖W‖. `=` is merged bit for bit, `≈` within rounding;")
        print("in brackets, the share of entries that no replay explains.\n")
        print("## Legitimate orders: all accepted\n")
        head(["order", "dtype", *shown])
        bad = 0
        for order, make in ORDERS.items():
            for name, dtype in DTYPES.items():
                cells = []
                for pair in pairs.values():
                    text, right = accepted(pair, base_of(order, pair, dtype), make(pair, dtype))
                    cells.append(text)
                    bad += not right
                line([order, name, *cells])
        print("\n## Wrong merges: the verdict\n")
        print("**Bold**: accepted, which is wrong.\n")
        head(["mistake", "dtype", *shown])
        for mistake, (make, verdicts) in WRONG.items():
            for name, dtype in DTYPES.items():
                cells = []
                for pair in pairs.values():
                    found = ftdiff.verify(pair.base(dtype), pair.adapter, make(pair, dtype))
                    wrong = found.verdict in GOOD
                    other = "" if found.verdict in verdicts or wrong else " (!)"
                    cells.append(f"**{found.verdict}**" if wrong else found.verdict + other)
                    bad += wrong
                line([mistake, name, *cells])
    print(f"{bad} cells are not as they should be", file=sys.stderr)


def accepted(pair: Pair, base: object, merged: object) -> tuple[str, bool]:
    found = ftdiff.verify(base, pair.adapter, merged)
    if found.verdict not in GOOD:
        return f"**{found.verdict}**", False
    targets = found.frame[found.frame["form"].notna()]
    share = targets["unexplained"].sum() / targets["numel"].sum()
    sign = "=" if found.verdict == "merged" else "≈"
    return sign + (f" ({share:.1%})" if share else ""), True


def head(cells: list[str]) -> None:
    line(cells)
    line(["---"] * len(cells))


def line(cells: list[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
