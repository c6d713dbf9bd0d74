"""A tensor's entries in blocks: each is summed fast, and carefully where that is not enough."""

from __future__ import annotations

from ftdiff.kernels import loop, step
from ftdiff.kernels.lanes import DOUBLE, Body
from ftdiff.kernels.operands import SUMS, Operands
from ftdiff.kernels.storage import itemsize

#: Entries of which each row of the result holds the sums, unless rows of a matrix are asked for.
BLOCK = 65536
#: A float32 square loses at most 2^-150, and a block of them 2^-134: of this, nothing that counts.
_VANISHING = 2.0**-104


def assembly(operands: Operands) -> str:
    """Return the module whose `sums(base, tuned, n, size, floor, sums, counts)` fills them."""
    outer = _OUTER.format(
        group=loop.GROUP,
        whole=-loop.GROUP,
        base=f"i{8 * itemsize(operands.base or 'U8')}",
        tuned=f"i{8 * itemsize(operands.tuned or 'U8')}",
    )
    return "".join(
        (
            step.DECLARATIONS,
            loop.DECLARATIONS,
            _DECLARATIONS,
            loop.loop("fast", operands, careful=False),
            loop.loop("careful", operands, careful=True),
            _trusted(operands),
            outer,
        )
    )


def _trusted(operands: Operands) -> str:
    """Write the test of a block's sums: finite, and no square that mattered can have vanished."""
    body = Body("k")
    value = {
        name: body.load("double", "%s", "double", str(SUMS.index(name)), align=8)
        for name in operands.sums
    }
    good = "true"
    for name in operands.sums:
        size = body.put(f"call double @llvm.fabs.f64(double {value[name]})")
        finite = body.put(f"fcmp olt double {size}, 0x7FF0000000000000")
        good = body.put(f"and i1 {good}, {finite}")
        if operands.real is DOUBLE or not name.endswith("_sq"):
            continue
        enough = body.put(f"fcmp oge double {value[name]}, {_VANISHING:.20e}")
        absolute = value.get(name.replace("_sq", "_abs"))
        if absolute:
            empty = body.put(f"fcmp oeq double {absolute}, 0.0")
            enough = body.put(f"or i1 {enough}, {empty}")
        good = body.put(f"and i1 {good}, {enough}")
    return f"define internal i1 @trusted(ptr %s) {{\n{body.text()}\n  ret i1 {good}\n}}"


_DECLARATIONS = """
declare double @llvm.fabs.f64(double)
declare i64 @llvm.umin.i64(i64, i64)
"""

# The last entries, fewer than a group, are copied out so that nothing past the end is read.
_OUTER = """
define void @sums(ptr %base, ptr %tuned, i64 %n, i64 %size, double %floor, ptr %sums,
                  ptr %counts) {{
entry:
  %a.tail = alloca [{group} x {base}], align 64
  %b.tail = alloca [{group} x {tuned}], align 64
  %any = icmp ugt i64 %n, 0
  br i1 %any, label %block, label %end
block:
  %k = phi i64 [ 0, %entry ], [ %k.next, %next ]
  %at = mul i64 %k, %size
  %left = sub i64 %n, %at
  %m = call i64 @llvm.umin.i64(i64 %left, i64 %size)
  %a = getelementptr {base}, ptr %base, i64 %at
  %b = getelementptr {tuned}, ptr %tuned, i64 %at
  %s = getelementptr [8 x double], ptr %sums, i64 %k
  %c = getelementptr [4 x i64], ptr %counts, i64 %k
  %groups = udiv i64 %m, {group}
  %whole = and i64 %m, {whole}
  %rest = sub i64 %m, %whole
  %long = icmp ugt i64 %groups, 0
  br i1 %long, label %fast, label %tail
fast:
  call void @fast(ptr %a, ptr %b, i64 %whole, i64 %groups, double %floor, ptr %s, ptr %c)
  %good = call i1 @trusted(ptr %s)
  br i1 %good, label %tail, label %again
again:
  store [8 x double] zeroinitializer, ptr %s, align 8
  store [4 x i64] zeroinitializer, ptr %c, align 8
  call void @careful(ptr %a, ptr %b, i64 %whole, i64 %groups, double %floor, ptr %s, ptr %c)
  br label %tail
tail:
  %short = icmp ugt i64 %rest, 0
  br i1 %short, label %copy, label %next
copy:
  %i = phi i64 [ 0, %tail ], [ %i.next, %copy ]
  %from = add i64 %whole, %i
  %a.from = getelementptr {base}, ptr %a, i64 %from
  %b.from = getelementptr {tuned}, ptr %b, i64 %from
  %a.to = getelementptr {base}, ptr %a.tail, i64 %i
  %b.to = getelementptr {tuned}, ptr %b.tail, i64 %i
  %x = load {base}, ptr %a.from, align 1
  %y = load {tuned}, ptr %b.from, align 1
  store {base} %x, ptr %a.to, align 1
  store {tuned} %y, ptr %b.to, align 1
  %i.next = add i64 %i, 1
  %copying = icmp ult i64 %i.next, %rest
  br i1 %copying, label %copy, label %copied
copied:
  call void @careful(ptr %a.tail, ptr %b.tail, i64 %rest, i64 1, double %floor, ptr %s, ptr %c)
  br label %next
next:
  %k.next = add i64 %k, 1
  %done = mul i64 %k.next, %size
  %more = icmp ult i64 %done, %n
  br i1 %more, label %block, label %end
end:
  ret void
}}
"""
