"""Inner products of a tile's rows in float32, a few rows by a few: twice what float64 does.

Each pair of rows is summed in sixteen chains of fused multiply-adds, one for each lane and as
long as a tile has steps, 32; the chains are then added to eight lanes of float64. How many rows are
taken together, and in registers of how many lanes, changes no bit.
"""

from __future__ import annotations

from ftdiff.kernels.lanes import LANES, Body
from ftdiff.kernels.panels import WIDTH, Panels
from ftdiff.kernels.readers import LONG


def assembly(panels: Panels) -> str:
    """Return the module whose `multiply(x, y, lanes)` adds a tile's products to `lanes`.

    `x` and `y` point to rows of `LONG` float32 entries, one after the other; `lanes` to `WIDTH`
    float64 sums for each pair.
    """
    parts = range(LANES // panels.width)
    text = "".join(_part(panels, part, last=part == parts[-1]) for part in parts)
    wide = f"<{panels.width} x float>"
    return _MULTIPLY.format(vector=wide, width=panels.width, parts=text)


def _part(panels: Panels, part: int, *, last: bool) -> str:
    """Write the loop over the chains of one register, and what adds them to the sums."""
    vector, first = f"<{panels.width} x float>", part * panels.width
    body, flush = Body(f"v{part}."), Body(f"f{part}.")
    totals = _products(body, panels, part)
    phis = []
    for number, (i, j) in enumerate(panels.pairs):
        phis.append(
            f"  %t{part}.{i}.{j} = phi {vector} [ zeroinitializer, %begin{part} ], "
            f"[ {totals[i, j]}, %step{part} ]"
        )
        _flush(flush, totals[i, j], number, first, panels.width)
    return _PART.format(
        part=part, phis="\n".join(phis), body=body.text(), flush=flush.text(), first=first,
        step=LANES, tile=LONG, after="end" if last else f"begin{part + 1}",
    )  # fmt: skip


def _products(body: Body, panels: Panels, part: int) -> dict[tuple[int, int], str]:
    """Write one step; return each pair's chains after it."""
    width = panels.width
    vector = f"<{width} x float>"
    x, y = (
        [body.load(vector, f"{rows}{part}", "float", str(i * LONG), align=4) for i in range(count)]
        for rows, count in (("%x", panels.rows), ("%y", 0 if panels.triangle else panels.columns))
    )
    totals = {}
    for i, j in panels.pairs:
        left, right, chain = x[i], (y or x)[j], f"%t{part}.{i}.{j}"
        if panels.fused:
            call = f"call {vector} @llvm.fma.v{width}f32"
            totals[i, j] = body.put(f"{call}({vector} {left}, {vector} {right}, {vector} {chain})")
        else:
            totals[i, j] = body.multiply_add(left, right, chain, fused=False)
    return totals


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


_PART = """
begin{part}:
  br label %step{part}
step{part}:
  %k{part} = phi i64 [ {first}, %begin{part} ], [ %next{part}, %step{part} ]
{phis}
  %x{part} = getelementptr float, ptr %x, i64 %k{part}
  %y{part} = getelementptr float, ptr %y, i64 %k{part}
{body}
  %next{part} = add i64 %k{part}, {step}
  %more{part} = icmp ult i64 %next{part}, {tile}
  br i1 %more{part}, label %step{part}, label %flush{part}
flush{part}:
{flush}
  br label %{after}
"""

_MULTIPLY = """
declare {vector} @llvm.fma.v{width}f32({vector}, {vector}, {vector})
define void @multiply(ptr %x, ptr %y, ptr %lanes) {{
entry:
  br label %begin0
{parts}
end:
  ret void
}}
"""
