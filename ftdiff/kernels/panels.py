"""Inner products of a tile's rows, a few rows by a few: all that registers hold at once.

Each pair of rows is summed in eight lanes of float64, entry by entry: products of float32 entries
are exact there, so that it is the same whether they are added with one rounding or two. How many
rows are taken together, and in registers of how many lanes, changes no bit.
"""

from __future__ import annotations

from dataclasses import dataclass

from ftdiff.kernels.jit import Target
from ftdiff.kernels.lanes import Body
from ftdiff.kernels.readers import TILE

#: Lanes in which a sum is held. Fixed, so that it is the same bits on any machine.
WIDTH = 8


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
        Float64 lanes of a register.
    fused
        The machine multiplies and adds in one instruction.
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

    @property
    def vector(self) -> str:
        """The type of a register."""
        return f"<{self.width} x double>"


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
    return _MULTIPLY.format(vector=panels.vector, width=panels.width, parts=text)


def _part(panels: Panels, part: int, *, last: bool) -> str:
    """Write the loop over the lanes of one register."""
    vector, first = panels.vector, part * panels.width
    begin, body, flush = Body(f"b{part}."), Body(f"v{part}."), Body(f"f{part}.")
    totals = _products(body, panels, part)
    phis = []
    for number, (i, j) in enumerate(panels.pairs):
        at = begin.put(f"getelementptr double, ptr %lanes, i64 {number * WIDTH + first}")
        past = begin.put(f"load {vector}, ptr {at}, align 8")
        flush.do(f"store {vector} {totals[i, j]}, ptr {at}, align 8")
        phis.append(
            f"  %t{part}.{i}.{j} = phi {vector} [ {past}, %begin{part} ], "
            f"[ {totals[i, j]}, %step{part} ]"
        )
    return _PART.format(
        part=part, begin=begin.text(), phis="\n".join(phis), body=body.text(), flush=flush.text(),
        first=first, step=WIDTH, tile=TILE, after="end" if last else f"begin{part + 1}",
    )  # fmt: skip


def _products(body: Body, panels: Panels, part: int) -> dict[tuple[int, int], str]:
    """Write one step; return each pair's total after it."""
    vector = panels.vector
    x, y = (
        [body.load(vector, f"{rows}{part}", "double", str(i * TILE), align=8) for i in range(count)]
        for rows, count in (("%x", panels.rows), ("%y", 0 if panels.triangle else panels.columns))
    )
    totals = {}
    for i, j in panels.pairs:
        left, right, total = x[i], (y or x)[j], f"%t{part}.{i}.{j}"
        if panels.fused:
            call = f"call {vector} @llvm.fma.v{panels.width}f64"
            totals[i, j] = body.put(f"{call}({vector} {left}, {vector} {right}, {vector} {total})")
        else:
            term = body.put(f"fmul {vector} {left}, {right}")
            totals[i, j] = body.put(f"fadd {vector} {total}, {term}")
    return totals


_PART = """
begin{part}:
{begin}
  br label %step{part}
step{part}:
  %k{part} = phi i64 [ {first}, %begin{part} ], [ %next{part}, %step{part} ]
{phis}
  %x{part} = getelementptr double, ptr %x, i64 %k{part}
  %y{part} = getelementptr double, ptr %y, i64 %k{part}
{body}
  %next{part} = add i64 %k{part}, {step}
  %more{part} = icmp ult i64 %next{part}, {tile}
  br i1 %more{part}, label %step{part}, label %flush{part}
flush{part}:
{flush}
  br label %{after}
"""

_MULTIPLY = """
declare {vector} @llvm.fma.v{width}f64({vector}, {vector}, {vector})
define void @multiply(ptr %x, ptr %y, ptr %lanes) {{
entry:
  br label %begin0
{parts}
end:
  ret void
}}
"""
