"""The fused loop over whole groups, written twice from one template: in float32, and carefully.

Terms are summed over sixteen lanes in the computing type, sixteen steps at a time: products in
chains of four, and all else pairwise, so that rounding errors hardly add up even where all entries
are the same. Each group's sums are then added to sixteen lanes of float64. Nothing is reassociated
or contracted behind our back, so that the bits depend on the data alone.
"""

from __future__ import annotations

from ftdiff.kernels.lanes import DOUBLE, FLOAT, LANES, Body, Real, lanes
from ftdiff.kernels.operands import COUNTS, SUMS, Operands
from ftdiff.kernels.step import Steps, Term

#: Entries between two additions to the float64 lanes.
GROUP = 16 * LANES
#: Products that are added one after the other, each rounded once with its sum.
_CHAIN = 4


def loop(name: str, operands: Operands, *, careful: bool) -> str:
    """Return the function that adds the sums of whole groups to `%s` and `%c`.

    Careful code computes in float64, leaves out entries that are not finite or not before `%n`,
    and is a few times slower.
    """
    real = DOUBLE if careful else operands.real
    unroll = 2 if careful else 8
    steps = Steps(operands, real, careful)
    first = steps.body.put(f"mul i64 %t, {unroll * LANES}")
    first = steps.body.put(f"add i64 %at, {first}")
    totals = _added(steps, first, unroll)
    carried = {name: (lanes("i32"), value) for name, value in steps.counts.items()}
    if operands.changes:
        carried["maximum"] = (real.bit_vector, steps.maximum)
    zero = "zeroinitializer"
    group = [f"%{n}.0 = phi {k} [ {zero}, %entry ], [ %{n}.9, %flush ]"
             for n, (k, _) in carried.items()]  # fmt: skip
    step = [f"%{n} = phi {real.vector} [ {zero}, %group ], [ {v}, %step ]"
            for n, v in totals.items()]  # fmt: skip
    step += [f"%{n} = phi {k} [ %{n}.0, %group ], [ {v}, %step ]"
             for n, (k, v) in carried.items()]  # fmt: skip
    flush = [f"%{n}.9 = phi {k} [ {v}, %step ]" for n, (k, v) in carried.items()]
    return _LOOP.format(
        name=name,
        size=GROUP,
        rounds=GROUP // LANES // unroll,
        entry=_entry(operands, real),
        group="\n  ".join(group),
        step="\n  ".join(step),
        body=steps.body.text(),
        latch="\n  ".join(flush),
        flush=_flush(totals, real),
        end=_end(operands, steps, real),
    )


def _added(steps: Steps, first: str, count: int) -> dict[str, str]:
    """Write the steps; return each sum's value after them, `%name` being that before."""
    body, real = steps.body, steps.real
    stacks: dict[str, list[tuple[int, str]]] = {name: [] for name in steps.operands.sums}
    for number, terms in enumerate(steps.write(first, count)):
        for name, term in terms.items():
            _push(stacks[name], steps, term, chained=number % _CHAIN > 0)
    return {
        name: body.put(f"fadd {real.vector} %{name}, {stack[0][1]}")
        for name, stack in stacks.items()
    }


def _push(stack: list[tuple[int, str]], steps: Steps, term: Term, *, chained: bool) -> None:
    """Add a term to partial sums, of which two of the same number of terms become one."""
    body, real = steps.body, steps.real
    size, value = 1, term[0]
    if len(term) == 2 and chained and real is FLOAT:
        size, value = stack.pop()
        size, value = size + 1, body.multiply_add(*term, value, steps.operands.fused)
    elif len(term) == 2:
        value = body.put(f"fmul {real.vector} {term[0]}, {term[1]}")
    while stack and stack[-1][0] == size:
        _, earlier = stack.pop()
        size, value = 2 * size, body.put(f"fadd {real.vector} {earlier}, {value}")
    stack.append((size, value))


def _entry(operands: Operands, real: Real) -> str:
    body = Body("e")
    for name in operands.sums:
        body.do(f"%{name}.sum = alloca {DOUBLE.vector}, align 128")
        body.do(f"store {DOUBLE.vector} zeroinitializer, ptr %{name}.sum, align 128")
    floor = "%floor" if real is DOUBLE else body.put("fptrunc double %floor to float")
    floor = body.put(f"bitcast {real.scalar} {floor} to {real.bits}")
    kind = real.bit_vector
    body.do(f"%least = insertelement {kind} undef, {real.bits} {floor}, i32 0")
    body.do(f"%floors = shufflevector {kind} %least, {kind} undef, {lanes('i32')} zeroinitializer")
    return body.text()


def _flush(totals: dict[str, str], real: Real) -> str:
    """Add the group's sums to the float64 lanes."""
    body = Body("f")
    for name, total in totals.items():
        if real is not DOUBLE:
            total = body.put(f"fpext {real.vector} {total} to {DOUBLE.vector}")
        past = body.put(f"load {DOUBLE.vector}, ptr %{name}.sum, align 128")
        now = body.put(f"fadd {DOUBLE.vector} {past}, {total}")
        body.do(f"store {DOUBLE.vector} {now}, ptr %{name}.sum, align 128")
    return body.text()


def _end(operands: Operands, steps: Steps, real: Real) -> str:
    """Add the lanes, in their order, to the scalars of the result."""
    body, wide = Body("x"), DOUBLE.vector
    for name in operands.sums:
        total = body.put(f"load {wide}, ptr %{name}.sum, align 128")
        call = f"call double @llvm.vector.reduce.fadd.{DOUBLE.suffix}"
        total = body.put(f"{call}(double 0.0, {wide} {total})")
        at = body.put(f"getelementptr double, ptr %s, i64 {SUMS.index(name)}")
        past = body.put(f"load double, ptr {at}, align 8")
        body.do(f"store double {body.put(f'fadd double {past}, {total}')}, ptr {at}, align 8")
    for name in steps.counts:
        call = f"call i32 @llvm.vector.reduce.add.v{LANES}i32"
        total = body.put(f"{call}({lanes('i32')} %{name}.9)")
        total = body.put(f"zext i32 {total} to i64")
        at = body.put(f"getelementptr i64, ptr %c, i64 {COUNTS.index(name)}")
        past = body.put(f"load i64, ptr {at}, align 8")
        body.do(f"store i64 {body.put(f'add i64 {past}, {total}')}, ptr {at}, align 8")
    if operands.changes:
        call = f"call {real.bits} @llvm.vector.reduce.umax.v{LANES}{real.bits}"
        top = body.put(f"{call}({real.bit_vector} %maximum.9)")
        top = body.put(f"bitcast {real.bits} {top} to {real.scalar}")
        if real is not DOUBLE:
            top = body.put(f"fpext float {top} to double")
        at = body.put(f"getelementptr double, ptr %s, i64 {len(SUMS)}")
        past = body.put(f"load double, ptr {at}, align 8")
        higher = body.put(f"fcmp ogt double {top}, {past}")
        top = body.put(f"select i1 {higher}, double {top}, double {past}")
        body.do(f"store double {top}, ptr {at}, align 8")
    return body.text()


#: What the code calls.
DECLARATIONS = f"""
declare double @llvm.vector.reduce.fadd.{DOUBLE.suffix}(double, {DOUBLE.vector})
declare i32 @llvm.vector.reduce.add.v{LANES}i32({lanes("i32")})
declare i32 @llvm.vector.reduce.umax.v{LANES}i32({lanes("i32")})
declare i64 @llvm.vector.reduce.umax.v{LANES}i64({lanes("i64")})
"""

_LOOP = """
define internal void @{name}(ptr %a, ptr %b, i64 %n, i64 %groups, double %floor, ptr %s, ptr %c) {{
entry:
{entry}
  br label %group
group:
  %g = phi i64 [ 0, %entry ], [ %g.next, %flush ]
  {group}
  %at = mul i64 %g, {size}
  br label %step
step:
  %t = phi i64 [ 0, %group ], [ %t.next, %step ]
  {step}
{body}
  %t.next = add i64 %t, 1
  %again = icmp ult i64 %t.next, {rounds}
  br i1 %again, label %step, label %flush
flush:
  {latch}
{flush}
  %g.next = add i64 %g, 1
  %more = icmp ult i64 %g.next, %groups
  br i1 %more, label %group, label %end
end:
{end}
  ret void
}}
"""
