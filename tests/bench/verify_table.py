"""Which merges `ftdiff verify` accepts and rejects: orders × dtypes, mistakes × dtypes × change.

python -m tests.bench.verify_table > tests/bench/verify_table.md
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import ftdiff
from tests.analyses.merges import DTYPES, ORDERS, WRONG, Pair, base_of, llama, lora, scaled

CHANGES = (0.003, 0.01, 0.03, 0.1)
ONCE = scaled(1.0)
GOOD = ("merged", "merged_within_rounding")


#: Models of other sizes, and changes, for the limit.
SIZES, LIMITS = (16, 32, 64, 128), (0.001, 0.003, 0.01, 0.03)


def main() -> None:
    warnings.simplefilter("ignore")
    model = llama(hidden=128, layers=4)
    print("# What `ftdiff verify` accepts and rejects\n")
    with tempfile.TemporaryDirectory() as folder:
        pairs = {c: lora(Path(folder) / str(c), model, c) for c in CHANGES}
        changes = pairs[0.01].changes
        entries = sum(model.state_dict()[name].numel() for name in changes)
        print(
            f"{len(changes)} targets, {entries:,} entries; rank 4, scale 6/4; factors in float32."
        )
        print("The change is ‖ΔW‖/‖W‖. Written by `tests/bench/verify_table.py`.\n")
        wrong = legitimate(pairs) + mistakes(pairs) + limit(Path(folder))
    print(f"{wrong} cells are not as they should be", file=sys.stderr)


def legitimate(pairs: Mapping[float, Pair]) -> int:
    print("## Legitimate orders: all accepted\n")
    print("`=` is merged bit for bit, `≈` within rounding; in brackets, the share of entries that")
    print("no replay explains.\n")
    head(["order", "dtype", *(f"{c:.1%}" for c in pairs)])
    wrong = 0
    for order, make in ORDERS.items():
        for name, dtype in DTYPES.items():
            cells = []
            for pair in pairs.values():
                text, right = accepted(pair, base_of(order, pair, dtype), make(pair, dtype))
                cells.append(text)
                wrong += not right
            line([order, name, *cells])
    return wrong


def mistakes(pairs: Mapping[float, Pair]) -> int:
    print("\n## Wrong merges: all rejected, with this verdict\n")
    head(["mistake", "dtype", *(f"{c:.1%}" for c in pairs)])
    wrong = 0
    for mistake, (make, verdicts) in WRONG.items():
        for name, dtype in DTYPES.items():
            cells = []
            for pair in pairs.values():
                found = ftdiff.verify(pair.base(dtype), pair.adapter, make(pair, dtype))
                right = found.verdict in verdicts
                cells.append(found.verdict if right else f"**{found.verdict}**")
                wrong += not right
            line([mistake, name, *cells])
    return wrong


def limit(folder: Path) -> int:
    """Where a scale of 1.002 is told in bf16: entries that it moves, of all targets together."""
    print("\n## The limit in bf16\n")
    print("A wrong scale shows by the entries that it rounds to the other side, k of them: each")
    print("points along ΔW, against the standard error of the pooled projection. Where tensors are")
    print("too small to show their own order of roundings, an order of few bits hides some of it.")
    print("×1.002 is told in every case from change × entries = 75 on (for other scales, times")
    print("0.002 / |scale − 1|); a scale within 1e-4 of 1 is not told. In float32")
    print("every entry shows it, at any size. Here ×1.002: change × entries, k, and the verdict.\n")
    head(["entries", *(f"{c:.1%}" for c in LIMITS)])
    wrong = 0
    for hidden in SIZES:
        model = llama(hidden=hidden, layers=4)
        cells, entries = [], 0
        for change in LIMITS:
            pair = lora(folder / f"{hidden}-{change}", model, change)
            base = pair.base(DTYPES["BF16"])
            entries = sum(base[name].numel() for name in pair.changes)
            right, more = (make(pair, DTYPES["BF16"]) for make in (ONCE, WRONG["×1.002"][0]))
            k = sum(int((right[name] != more[name]).sum()) for name in pair.changes)
            found = ftdiff.verify(base, pair.adapter, more)
            cells.append(f"{change * entries:.3g}: {k:,}, {found.verdict}")
            wrong += change * entries > 75 and found.verdict != "other_scale"
        line([f"{entries:,}", *cells])
    return wrong


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
