"""Inner products of a tile's rows, a few rows by a few: all that registers hold at once.

Each pair of rows is summed over sixteen lanes, in each a chain of 32 fused multiply-adds in
float32; the chains' ends are then added to sixteen lanes of float64. How many rows are taken
together, and in registers of how many lanes, changes no bit.
"""

from __future__ import annotations

from dataclasses import dataclass

from ftdiff.kernels.jit import Target
from ftdiff.kernels.lanes import LANES, Body
from ftdiff.kernels.readers import TILE


@dataclass(frozen=True)
class Panels:
    """Which rows are multiplied with which, and in what registers.

    Attributes
    ----------
    rows, columns
        Rows of the one panel and of the other.
    triangle
        They are one panel: each pair is taken once.
    width
        Lanes of a register.
    fused
        The machine multiplies and adds with one rounding.
    """

    rows: int
    columns: int
    triangle: bool
    width: int
    fused: bool

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs, in the order of their results."""
        return [
            (i, j)
            for j in range(self.columns)
            for i in range(j + 1 if self.triangle else self.rows)
        ]


def most_rows(target: Target) -> int:
    """Return the rows of a panel of which all products with another stay in registers."""
    if not target.fused:
        return 2
    return 5 if target.registers >= 32 else 3


def assembly(panels: Panels) -> str:
    """Return the module whose `multiply(x, y, lanes)` adds a tile's products to `lanes`.

    `x` and `y` point to rows of `TILE` float32 entries, one after the other; `lanes` to sixteen
    float64 for each pair.
    """
    width = panels.width if panels.fused else LANES
    real, wide = f"<{width} x float>", f"<{width} x double>"
    text = []
    for part in range(LANES // width):
        body, flush = Body(f"v{part}."), Body(f"f{part}.")
        totals = _products(body, panels, width, part)
        phis = "\n".join(
            f"  %t{part}.{i}.{j} = phi {real} [ zeroinitializer, %begin{part} ], "
            f"[ {totals[i, j]}, %step{part} ]"
            for i, j in panels.pairs
        )
        for number, pair in enumerate(panels.pairs):
            total = flush.put(f"fpext {real} {totals[pair]} to {wide}")
            at = flush.put(f"getelementptr double, ptr %lanes, i64 {number * LANES + part * width}")
            past = flush.put(f"load {wide}, ptr {at}, align 64")
            flush.do(
                f"store {wide} {flush.put(f'fadd {wide} {past}, {total}')}, ptr {at}, align 64"
            )
        after = f"begin{part + 1}" if (part + 1) * width < LANES else "end"
        text.append(
            _PART.format(
                part=part, phis=phis, body=body.text(), flush=flush.text(), after=after,
                first=part * width, step=LANES, tile=TILE,
            )
        )  # fmt: skip
    return _MULTIPLY.format(width=width, real=real, parts="".join(text))


def _products(body: Body, panels: Panels, width: int, part: int) -> dict[tuple[int, int], str]:
    """Write one step; return each pair's total after it."""
    real = f"<{width} x float>"
    x = [body.load(real, f"%x{part}", "float", str(i * TILE), align=64) for i in range(panels.rows)]
    y = x
    if not panels.triangle:
        y = [
            body.load(real, f"%y{part}", "float", str(j * TILE), align=64)
            for j in range(panels.columns)
        ]
    totals = {}
    for i, j in panels.pairs:
        total = f"%t{part}.{i}.{j}"
        if panels.fused:
            call = f"call {real} @llvm.fma.v{width}f32"
            totals[i, j] = body.put(f"{call}({real} {x[i]}, {real} {y[j]}, {real} {total})")
        else:
            totals[i, j] = body.multiply_add(x[i], y[j], total, fused=False)
    return totals


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
declare {real} @llvm.fma.v{width}f32({real}, {real}, {real})
define void @multiply(ptr %x, ptr %y, ptr %lanes) {{
entry:
  br label %begin0
{parts}
end:
  ret void
}}
"""
