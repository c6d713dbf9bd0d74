"""Inner products of a tile's rows, a few rows by a few: all that registers hold at once.

Each pair of rows is summed in eight lanes of float64, entry by entry: products of float32 entries
are exact there, so that it is the same whether they are added with one rounding or two. How many
rows are taken together, and in registers of how many lanes, changes no bit.
"""

from __future__ import annotations

from ftdiff.kernels import tile_loops
from ftdiff.kernels.jit import Target
from ftdiff.kernels.lanes import Body
from ftdiff.kernels.readers import TILE
from ftdiff.kernels.tile_loops import Panels

#: Lanes in which a sum is held. Fixed, so that it is the same bits on any machine.
WIDTH = 8


def most_rows(target: Target) -> int:
    """Return the rows of a panel of which all products with another stay in registers."""
    return 5 if target.registers >= 32 else 3


def assembly(panels: Panels) -> str:
    """Return the module whose `multiply(x, y, lanes)` adds a tile's products to `lanes`.

    `x` and `y` point to rows of `TILE` float64 entries, one after the other; `lanes` to `WIDTH`
    for each pair.
    """
    parts = range(WIDTH // panels.width)
    text = "".join(_part(panels, part, last=part == parts[-1]) for part in parts)
    return tile_loops.module("double", panels.width, text)


def _part(panels: Panels, part: int, *, last: bool) -> str:
    """Write the loop over the lanes of one register."""
    vector, first = panels.vector("double"), part * panels.width
    begin, body, flush = Body(f"b{part}."), Body(f"v{part}."), Body(f"f{part}.")
    totals = tile_loops.products(
        body, panels, part, "double", TILE, lambda x, y, total: _added(body, panels, x, y, total)
    )
    phis = []
    for number, (i, j) in enumerate(panels.pairs):
        at = begin.put(f"getelementptr double, ptr %lanes, i64 {number * WIDTH + first}")
        past = begin.put(f"load {vector}, ptr {at}, align 8")
        flush.do(f"store {vector} {totals[i, j]}, ptr {at}, align 8")
        phis.append(
            f"  %t{part}.{i}.{j} = phi {vector} [ {past}, %begin{part} ], "
            f"[ {totals[i, j]}, %step{part} ]"
        )
    return tile_loops.loop(
        "double", part, phis, (begin, body, flush), steps=(first, WIDTH, TILE), last=last
    )


def _added(body: Body, panels: Panels, x: str, y: str, total: str) -> str:
    """Add the product of two float32 entries, which is exact: rounded once either way."""
    vector = panels.vector("double")
    term = body.put(f"fmul {vector} {x}, {y}")
    return body.put(f"fadd {vector} {total}, {term}")
