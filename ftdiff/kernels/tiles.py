"""The code of products and Gram matrices: tiles of chains that share what they load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftdiff.kernels.lanes import FLOAT, LANES, Body


def product_tiles(rows: int, vectors: int, fused: bool) -> str:
    """Write the product in tiles of `rows` rows and `vectors` vectors of columns."""
    tile = [(i, j) for i in range(rows) for j in range(vectors)]
    top, body, end = Body("p"), Body(), Body("x")
    starts = [top.put(f"add i64 %i, {i}") for i in range(rows)]
    b = [_row(top, "float", "%B", start, "%ldb") for start in starts]
    o = [_row(top, "float", "%out", start, "%ldo") for start in starts]
    a = _row(body, "float", "%A", "%k", "%lda")
    places = [body.put(f"add i64 %j, {LANES * j}") for j in range(vectors)]
    columns = [body.load(FLOAT.vector, a, "float", place) for place in places]
    totals = {}
    for i in range(rows):
        entry = body.spread("float", body.load("float", b[i], "float", "%k"))
        for j in range(vectors):
            totals[i, j] = body.multiply_add(entry, columns[j], f"%t{i}.{j}", fused)
    factor = end.spread("float", "%scale")
    for i, j in tile:
        value = end.put(f"fmul {FLOAT.vector} {totals[i, j]}, {factor}")
        place = end.put(f"add i64 %j, {LANES * j}")
        at = end.put(f"getelementptr float, ptr {o[i]}, i64 {place}")
        end.do(f"store {FLOAT.vector} {value}, ptr {at}, align 1")
    phis = "\n".join(
        f"  %t{i}.{j} = phi {FLOAT.vector} [ zeroinitializer, %column ], [ {totals[i, j]}, %step ]"
        for i, j in tile
    )
    return _PRODUCT.format(
        vector=FLOAT.vector, suffix=FLOAT.suffix, rows=rows, columns=vectors * LANES,
        top=top.text(), phis=phis, body=body.text(), end=end.text(),
    )  # fmt: skip


def gram_tiles(scalar: str, rows: int, fused: bool) -> str:
    """Write the Gram matrix in square tiles of `rows` rows."""
    width = LANES // 2
    lane, single = _Terms(scalar, width, fused), _Terms(scalar, 1, fused)
    tile = [(i, j) for i in range(rows) for j in range(rows)]
    top, body, last, rest = Body("p"), Body(), Body("x"), Body("r")
    x, y = (
        [_row(top, scalar, base, top.put(f"add i64 {index}, {i}"), stride) for i in range(rows)]
        for base, index, stride in (("%X", "%i", "%ldx"), ("%Y", "%j", "%ldy"))
    )
    lanes = lane.tile(body, x, y, "%k", "%t")
    reduce = f"call double @llvm.vector.reduce.fadd.v{width}f64"
    sums = {(i, j): last.put(f"{reduce}(double 0.0, {lane.wide} %l{i}.{j})") for i, j in tile}
    tails = single.tile(rest, x, y, "%q", "%s")
    zeros = dict.fromkeys(tile, "zeroinitializer")
    return _GRAM.format(
        vector=lane.wide, width=width, whole=-width, rows=rows,
        top=top.text(), body=body.text(), last=last.text(), rest=rest.text(),
        end=_stores(tile).text(),
        lanes=_phis("t", lane.wide, column=zeros, step=lanes),
        ends=_phis("l", lane.wide, column=zeros, step=lanes),
        tails=_phis("s", "double", reduce=sums, tail=tails),
        done=_phis("d", "double", reduce=sums, tail=tails),
    )  # fmt: skip


@dataclass(frozen=True)
class _Terms:
    """Products of entries that are stored as `scalar`, `width` at a time, summed in float64."""

    scalar: str
    width: int
    fused: bool

    @property
    def stored(self) -> str:
        """The type of what is loaded."""
        return self.scalar if self.width == 1 else f"<{self.width} x {self.scalar}>"

    @property
    def wide(self) -> str:
        """The type that is computed in."""
        return "double" if self.width == 1 else f"<{self.width} x double>"

    def tile(
        self, code: Body, x: Sequence[str], y: Sequence[str], index: str, totals: str
    ) -> dict[tuple[int, int], str]:
        """Add, to the total of each pair of rows, the product of their entries at `index`."""
        left, right = ([self._load(code, row, index) for row in side] for side in (x, y))
        return {
            (i, j): self._add(code, a, b, f"{totals}{i}.{j}")
            for i, a in enumerate(left)
            for j, b in enumerate(right)
        }

    def _load(self, code: Body, row: str, index: str) -> str:
        value = code.load(self.stored, row, self.scalar, index)
        if self.scalar == "double":
            return value
        return code.put(f"fpext {self.stored} {value} to {self.wide}")

    def _add(self, code: Body, left: str, right: str, total: str) -> str:
        kind = self.wide
        if self.scalar == "float" and self.fused:  # the product is exact: one rounding
            suffix = "f64" if self.width == 1 else f"v{self.width}f64"
            call = f"call {kind} @llvm.fma.{suffix}"
            return code.put(f"{call}({kind} {left}, {kind} {right}, {kind} {total})")
        term = code.put(f"fmul {kind} {left}, {right}")
        return code.put(f"fadd {kind} {total}, {term}")


def _stores(tile: Sequence[tuple[int, int]]) -> Body:
    """Return the code that stores a tile's sums."""
    code = Body("e")
    for i, j in tile:
        row = _row(code, "double", "%out", code.put(f"add i64 %i, {i}"), "%ldo")
        place = code.put(f"add i64 %j, {j}")
        at = code.put(f"getelementptr double, ptr {row}, i64 {place}")
        code.do(f"store double %d{i}.{j}, ptr {at}, align 1")
    return code


def _phis(name: str, kind: str, **edges: Mapping[tuple[int, int], str]) -> str:
    """Return a tile's values at the start of a block, by the block that each one comes from."""
    tile = next(iter(edges.values()))
    return "\n".join(
        f"  %{name}{i}.{j} = phi {kind} "
        + ", ".join(f"[ {values[i, j]}, %{block} ]" for block, values in edges.items())
        for i, j in tile
    )


def _row(body: Body, scalar: str, base: str, index: str, stride: str) -> str:
    offset = body.put(f"mul i64 {index}, {stride}")
    return body.put(f"getelementptr {scalar}, ptr {base}, i64 {offset}")


_PRODUCT = """
declare {vector} @llvm.fma.{suffix}({vector}, {vector}, {vector})
declare i64 @llvm.umin.i64(i64, i64)
define void @product(ptr %B, i64 %ldb, ptr %A, i64 %lda, ptr %out, i64 %ldo,
                     i64 %m, i64 %n, i64 %r, float %scale) {{
entry:
  %i.last = sub i64 %m, {rows}
  %j.last = sub i64 %n, {columns}
  br label %row
row:
  %i.at = phi i64 [ 0, %entry ], [ %i.next, %below ]
  %i = call i64 @llvm.umin.i64(i64 %i.at, i64 %i.last)
{top}
  br label %column
column:
  %j.at = phi i64 [ 0, %row ], [ %j.next, %store ]
  %j = call i64 @llvm.umin.i64(i64 %j.at, i64 %j.last)
  br label %step
step:
  %k = phi i64 [ 0, %column ], [ %k.next, %step ]
{phis}
{body}
  %k.next = add i64 %k, 1
  %again = icmp ult i64 %k.next, %r
  br i1 %again, label %step, label %store
store:
{end}
  %j.next = add i64 %j.at, {columns}
  %right = icmp ult i64 %j.next, %n
  br i1 %right, label %column, label %below
below:
  %i.next = add i64 %i.at, {rows}
  %more = icmp ult i64 %i.next, %m
  br i1 %more, label %row, label %end
end:
  ret void
}}
"""

_GRAM = """
declare {vector} @llvm.fma.v{width}f64({vector}, {vector}, {vector})
declare double @llvm.fma.f64(double, double, double)
declare double @llvm.vector.reduce.fadd.v{width}f64(double, {vector})
declare i64 @llvm.umin.i64(i64, i64)
define void @gram(ptr %X, i64 %ldx, ptr %Y, i64 %ldy, ptr %out, i64 %ldo,
                  i64 %m, i64 %s, i64 %n, i64 %symmetric) {{
entry:
  %i.last = sub i64 %m, {rows}
  %j.last = sub i64 %s, {rows}
  %whole = and i64 %n, {whole}
  %half = icmp ne i64 %symmetric, 0
  br label %row
row:
  %i.at = phi i64 [ 0, %entry ], [ %i.next, %below ]
  %i = call i64 @llvm.umin.i64(i64 %i.at, i64 %i.last)
  %j.first = select i1 %half, i64 %i, i64 0
  br label %column
column:
  %j.at = phi i64 [ %j.first, %row ], [ %j.next, %store ]
  %j = call i64 @llvm.umin.i64(i64 %j.at, i64 %j.last)
{top}
  %long = icmp ugt i64 %whole, 0
  br i1 %long, label %step, label %reduce
step:
  %k = phi i64 [ 0, %column ], [ %k.next, %step ]
{lanes}
{body}
  %k.next = add i64 %k, {width}
  %again = icmp ult i64 %k.next, %whole
  br i1 %again, label %step, label %reduce
reduce:
{ends}
{last}
  %short = icmp ult i64 %whole, %n
  br i1 %short, label %tail, label %store
tail:
  %q = phi i64 [ %whole, %reduce ], [ %q.next, %tail ]
{tails}
{rest}
  %q.next = add i64 %q, 1
  %going = icmp ult i64 %q.next, %n
  br i1 %going, label %tail, label %store
store:
{done}
{end}
  %j.next = add i64 %j.at, {rows}
  %right = icmp ult i64 %j.next, %s
  br i1 %right, label %column, label %below
below:
  %i.next = add i64 %i.at, {rows}
  %more = icmp ult i64 %i.next, %m
  br i1 %more, label %row, label %end
end:
  ret void
}}
"""
