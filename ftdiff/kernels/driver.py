"""Go through tensors tile by tile: decode all of them, then multiply all pairs of them."""

from __future__ import annotations

from ftdiff.kernels.panels import WIDTH

#: What a line of each table of `changes` holds: of a reading, where its code is, what it reads, the
#: bytes of a tile, where it writes, its counts, and a last tile that is not whole; of a product,
#: where its code is, the two panels, and the sums.
READING, PRODUCT = 6, 4


def assembly() -> str:
    """Return the module whose `changes` fills a row of sums for each `per` tiles."""
    return _CHANGES.format(width=WIDTH, bytes=8 * WIDTH, reading=READING, product=PRODUCT)


_CHANGES = """
declare double @llvm.vector.reduce.fadd.v{width}f64(double, <{width} x double>)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define void @changes(ptr %readings, i64 %parts, ptr %products, i64 %calls, ptr %lanes, i64 %pairs,
                     ptr %base, ptr %sums, i64 %tiles, i64 %whole, i64 %per) {{
entry:
  %lanes.bytes = mul i64 %pairs, {bytes}
  br label %row
row:
  %first = phi i64 [ 0, %entry ], [ %stop, %stored ]
  %s = phi ptr [ %sums, %entry ], [ %s.next, %stored ]
  %far = add i64 %first, %per
  %near = icmp ult i64 %far, %tiles
  %stop = select i1 %near, i64 %far, i64 %tiles
  call void @llvm.memset.p0.i64(ptr %lanes, i8 0, i64 %lanes.bytes, i1 false)
  br label %tile
tile:
  %t = phi i64 [ %first, %row ], [ %t.next, %tiled ]
  %full = icmp ult i64 %t, %whole
  br label %read
read:
  %p = phi i64 [ 0, %tile ], [ %p.next, %read ]
  %r = getelementptr [{reading} x i64], ptr %readings, i64 %p
  %r.code = load ptr, ptr %r, align 8
  %r.at = getelementptr i64, ptr %r, i64 1
  %r.step = getelementptr i64, ptr %r, i64 2
  %r.out = getelementptr i64, ptr %r, i64 3
  %r.lost = getelementptr i64, ptr %r, i64 4
  %r.end = getelementptr i64, ptr %r, i64 5
  %begin = load ptr, ptr %r.at, align 8
  %step = load i64, ptr %r.step, align 8
  %out = load ptr, ptr %r.out, align 8
  %lost = load ptr, ptr %r.lost, align 8
  %end = load ptr, ptr %r.end, align 8
  %offset = mul i64 %t, %step
  %inside = getelementptr i8, ptr %begin, i64 %offset
  %from = select i1 %full, ptr %inside, ptr %end
  call void %r.code(ptr %from, ptr %base, ptr %out, ptr %lost)
  %p.next = add i64 %p, 1
  %p.more = icmp ult i64 %p.next, %parts
  br i1 %p.more, label %read, label %multiply
multiply:
  %c = phi i64 [ 0, %read ], [ %c.next, %multiply ]
  %m = getelementptr [{product} x i64], ptr %products, i64 %c
  %m.code = load ptr, ptr %m, align 8
  %m.x = getelementptr i64, ptr %m, i64 1
  %m.y = getelementptr i64, ptr %m, i64 2
  %m.lanes = getelementptr i64, ptr %m, i64 3
  %x = load ptr, ptr %m.x, align 8
  %y = load ptr, ptr %m.y, align 8
  %z = load ptr, ptr %m.lanes, align 8
  call void %m.code(ptr %x, ptr %y, ptr %z)
  %c.next = add i64 %c, 1
  %c.more = icmp ult i64 %c.next, %calls
  br i1 %c.more, label %multiply, label %tiled
tiled:
  %t.next = add i64 %t, 1
  %t.more = icmp ult i64 %t.next, %stop
  br i1 %t.more, label %tile, label %sum
sum:
  %q = phi i64 [ 0, %tiled ], [ %q.next, %sum ]
  %q.at = getelementptr <{width} x double>, ptr %lanes, i64 %q
  %q.lanes = load <{width} x double>, ptr %q.at, align 64
  %q.sum = call double @llvm.vector.reduce.fadd.v{width}f64(double 0.0, <{width} x double> %q.lanes)
  %q.to = getelementptr double, ptr %s, i64 %q
  store double %q.sum, ptr %q.to, align 8
  %q.next = add i64 %q, 1
  %q.more = icmp ult i64 %q.next, %pairs
  br i1 %q.more, label %sum, label %stored
stored:
  %s.next = getelementptr double, ptr %s, i64 %pairs
  %again = icmp ult i64 %stop, %tiles
  br i1 %again, label %row, label %end.of.all
end.of.all:
  ret void
}}
"""
