"""Loops over the steps of a tile, in which a few rows are multiplied with a few, as LLVM has them.

`panels` takes them in float64, `chains` in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ftdiff.kernels.lanes import Body

#: Numbers as LLVM calls them, with their bytes and the ending of what is done to them.
Real: TypeAlias = Literal["float", "double"]
_BYTES, _CODES = {"float": 4, "double": 8}, {"float": "f32", "double": "f64"}


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

    def vector(self, real: Real) -> str:
        """Return the type of a register."""
        return f"<{self.width} x {real}>"


def products(
    body: Body,
    panels: Panels,
    part: int,
    real: Real,
    stride: int,
    unfused: Callable[[str, str, str], str],
) -> dict[tuple[int, int], str]:
    """Write one step; return each pair's total after it.

    Parameters
    ----------
    body
        Where it is written.
    panels, part
        Which rows, and which of their registers.
    real, stride
        What rows hold, and entries from one to the next.
    unfused
        Writes x·y + z where no instruction does, and returns its name.
    """
    vector, align = panels.vector(real), _BYTES[real]
    x, y = (
        [
            body.load(vector, f"{rows}{part}", real, str(i * stride), align=align)
            for i in range(count)
        ]
        for rows, count in (("%x", panels.rows), ("%y", 0 if panels.triangle else panels.columns))
    )
    call = f"call {vector} @llvm.fma.v{panels.width}{_CODES[real]}"
    totals = {}
    for i, j in panels.pairs:
        left, right, total = x[i], (y or x)[j], f"%t{part}.{i}.{j}"
        totals[i, j] = (
            body.put(f"{call}({vector} {left}, {vector} {right}, {vector} {total})")
            if panels.fused
            else unfused(left, right, total)
        )
    return totals


def loop(
    real: Real,
    part: int,
    phis: Sequence[str],
    bodies: tuple[Body, Body, Body],
    *,
    steps: tuple[int, int, int],
    last: bool,
) -> str:
    """Return a part's loop: what begins it, its step, what flushes it; first, step and end."""
    begin, body, flush = (one.text() for one in bodies)
    first, step, end = steps
    return _PART.format(
        real=real, part=part, begin=begin, phis="\n".join(phis), body=body, flush=flush,
        first=first, step=step, end=end, after="end" if last else f"begin{part + 1}",
    )  # fmt: skip


def module(real: Real, width: int, parts: str) -> str:
    """Return the module whose `multiply(x, y, lanes)` runs these loops."""
    return _MULTIPLY.format(
        vector=f"<{width} x {real}>", code=f"v{width}{_CODES[real]}", parts=parts
    )


_PART = """
begin{part}:
{begin}
  br label %step{part}
step{part}:
  %k{part} = phi i64 [ {first}, %begin{part} ], [ %next{part}, %step{part} ]
{phis}
  %x{part} = getelementptr {real}, ptr %x, i64 %k{part}
  %y{part} = getelementptr {real}, ptr %y, i64 %k{part}
{body}
  %next{part} = add i64 %k{part}, {step}
  %more{part} = icmp ult i64 %next{part}, {end}
  br i1 %more{part}, label %step{part}, label %flush{part}
flush{part}:
{flush}
  br label %{after}
"""

_MULTIPLY = """
declare {vector} @llvm.fma.{code}({vector}, {vector}, {vector})
define void @multiply(ptr %x, ptr %y, ptr %lanes) {{
entry:
  br label %begin0
{parts}
end:
  ret void
}}
"""
