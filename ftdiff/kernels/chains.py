"""Inner products of a tile's rows in float32, a few rows by a few: twice what float64 does.

Each pair of rows is summed in sixteen chains of fused multiply-adds, one for each lane and as
long as a tile has steps, 32; the chains are then added to eight lanes of float64. How many rows are
taken together, and in registers of how many lanes, changes no bit.
"""

from __future__ import annotations

from ftdiff.kernels import tile_loops
from ftdiff.kernels.lanes import LANES, Body
from ftdiff.kernels.panels import WIDTH
from ftdiff.kernels.readers import LONG
from ftdiff.kernels.tile_loops import Panels


def assembly(panels: Panels) -> str:
    """Return the module whose `multiply(x, y, lanes)` adds a tile's products to `lanes`.

    `x` and `y` point to rows of `LONG` float32 entries, one after the other; `lanes` to `WIDTH`
    float64 sums for each pair.
    """
    parts = range(LANES // panels.width)
    text = "".join(_part(panels, part, last=part == parts[-1]) for part in parts)
    return tile_loops.module("float", panels.width, text)


def _part(panels: Panels, part: int, *, last: bool) -> str:
    """Write the loop over the chains of one register, and what adds them to the sums."""
    vector, first = panels.vector("float"), part * panels.width
    body, flush = Body(f"v{part}."), Body(f"f{part}.")
    totals = tile_loops.products(
        body, panels, part, "float", LONG, lambda x, y, chain: body.multiply_add(x, y, chain, False)
    )
    phis = []
    for number, (i, j) in enumerate(panels.pairs):
        phis.append(
            f"  %t{part}.{i}.{j} = phi {vector} [ zeroinitializer, %begin{part} ], "
            f"[ {totals[i, j]}, %step{part} ]"
        )
        _flush(flush, totals[i, j], number, first, panels.width)
    return tile_loops.loop(
        "float", part, phis, (Body(""), body, flush), steps=(first, LANES, LONG), last=last
    )


def _flush(flush: Body, chains: str, pair: int, first: int, width: int) -> None:
    """Add the chains to the sums, those of the first eight lanes first."""
    step = min(width, WIDTH)
    for start in range(0, width, step):
        mask = ", ".join(f"i32 {start + k}" for k in range(step))
        vector, wide = f"<{width} x float>", f"<{step} x double>"
        some = chains
        if step < width:
            some = flush.put(
                f"shufflevector {vector} {chains}, {vector} undef, <{step} x i32> <{mask}>"
            )
        some = flush.put(f"fpext <{step} x float> {some} to {wide}")
        place = pair * WIDTH + (first + start) % WIDTH
        at = flush.put(f"getelementptr double, ptr %lanes, i64 {place}")
        past = flush.put(f"load {wide}, ptr {at}, align 8")
        total = flush.put(f"fadd {wide} {past}, {some}")
        flush.do(f"store {wide} {total}, ptr {at}, align 8")


def width(lanes: int, *, fused: bool) -> int:
    """Return how many chains a register of so many float32 lanes takes.

    Where no instruction multiplies and adds with one rounding, the chains are taken all together.
    """
    return min(lanes, LANES) if fused else LANES
