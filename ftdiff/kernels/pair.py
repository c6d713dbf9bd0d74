"""The fused loop: one reading of two tensors, and every sum of them.

Sums are taken over sixteen lanes in the computing type, sixteen steps at a time and pairwise, and
then added to sixteen lanes of float64. Nothing is reassociated or contracted, so the bits depend
on the data alone. A block whose float32 sums are not finite, or so small that squares may have
vanished, is taken again in float64 with masks: the same template, asked more carefully.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ftdiff.kernels.lanes import DOUBLE, LANES, Body, Real, lanes, splat
from ftdiff.kernels.storage import Lanes, computed_in, itemsize, read, read_bf16_pairs

#: Entries of which each row of the result holds the sums.
BLOCK = 65536
#: Entries between two additions to the float64 lanes.
GROUP = 16 * LANES
#: Sums in the order of the result's columns; the maximum follows.
SUMS = ("base_sq", "tuned_sq", "delta_sq", "inner", "base_abs", "delta_abs", "power_sq")
COUNTS = ("unequal", "sign_flips", "nonfinite_base", "nonfinite_tuned")
#: A float32 square can lose at most 2^-150, and a block of them 2^-134.
VANISHING = 2.0**-104


@dataclass(frozen=True)
class Pair:
    """What the two operands are; a dtype that is empty is an operand that is absent."""

    base: str
    tuned: str
    delta: bool  # the second operand holds changes, not tuned values
    native_half: bool

    @property
    def real(self) -> Real:
        """The type that the sums are computed in."""
        return computed_in(self.base, self.tuned)

    @property
    def sums(self) -> tuple[str, ...]:
        """The sums that can be taken of what is present."""
        base, tuned = bool(self.base), bool(self.tuned)
        valued = tuned and (base or not self.delta)
        changed = tuned and (base or self.delta)
        present = (base, valued, changed, base and tuned, base, changed, valued)
        return tuple(name for name, there in zip(SUMS, present, strict=True) if there)


def assembly(pair: Pair) -> str:
    """Return the module whose `sums(base, tuned, n, floor, sums, counts)` fills the result."""
    parts = [
        _DECLARATIONS,
        _trusted(pair),
        _Loop(pair, "fast", pair.real, careful=False, unroll=8).function(),
        _Loop(pair, "careful", DOUBLE, careful=True, unroll=2).function(),
        _OUTER.format(
            block=BLOCK,
            group=GROUP,
            base=f"i{8 * itemsize(pair.base or 'U8')}",
            tuned=f"i{8 * itemsize(pair.tuned or 'U8')}",
            whole=-GROUP,
        ),
    ]
    return "\n".join(parts)


@dataclass
class _Step:
    """The values of one step, as they become known."""

    base: Lanes | None
    tuned: Lanes | None
    index: str  # of its first entry


class _Loop:
    """The function that adds the sums of whole groups to `%s` and `%c`."""

    def __init__(self, pair: Pair, name: str, real: Real, careful: bool, unroll: int) -> None:
        self.pair, self.name, self.real = pair, name, real
        self.careful, self.unroll = careful, unroll
        self.body = Body()
        self.counts: dict[str, str] = {}
        self.maximum = ""

    def function(self) -> str:
        """Return its text."""
        real, sums = self.real, self.pair.sums
        self.counts = {name: f"%{name}" for name in self._counted()}
        self.maximum = "%maximum" if "delta_abs" in sums else ""
        totals = self._steps()
        rounds = GROUP // LANES // self.unroll
        carried = {name: (real.vector, totals[name]) for name in sums}
        whole = {name: (lanes("i32"), value) for name, value in self.counts.items()}
        if self.maximum:
            whole["maximum"] = (real.bit_vector, self.maximum)
        kinds = {name: kind for name, (kind, _) in (carried | whole).items()}
        start = [f"  %{n}.0 = phi {k} [ zeroinitializer, %entry ], [ %{n}.9, %flush ]"
                 for n, (k, _) in whole.items()]
        inner = [f"  %{n} = phi {k} [ zeroinitializer, %group ], [ {v}, %step ]"
                 for n, (k, v) in carried.items()]
        inner += [f"  %{n} = phi {k} [ %{n}.0, %group ], [ {v}, %step ]"
                  for n, (k, v) in whole.items()]
        latch = [f"  %{n}.9 = phi {kinds[n]} [ {v}, %step ]" for n, (_, v) in whole.items()]
        return "\n".join([
            f"define internal void @{self.name}"
            "(ptr %a, ptr %b, i64 %n, i64 %groups, double %floor, ptr %s, ptr %c) {",
            "entry:",
            self._entry(),
            "  br label %group",
            "group:",
            "  %g = phi i64 [ 0, %entry ], [ %g.next, %flush ]",
            *start,
            f"  %at = mul i64 %g, {GROUP}",
            "  br label %step",
            "step:",
            "  %t = phi i64 [ 0, %group ], [ %t.next, %step ]",
            *inner,
            self.body.text(),
            "  %t.next = add i64 %t, 1",
            f"  %again = icmp ult i64 %t.next, {rounds}",
            "  br i1 %again, label %step, label %flush",
            "flush:",
            *latch,
            self._flush(totals),
            "  %g.next = add i64 %g, 1",
            "  %more = icmp ult i64 %g.next, %groups",
            "  br i1 %more, label %group, label %end",
            "end:",
            self._end({n: f"%{n}.9" for n in whole}),
            "  ret void",
            "}",
        ])

    def _counted(self) -> tuple[str, ...]:
        base, tuned = bool(self.pair.base), bool(self.pair.tuned)
        present = (
            "delta_sq" in self.pair.sums,
            base and tuned,
            base and self.careful,
            tuned and self.careful,
        )
        return tuple(name for name, there in zip(COUNTS, present, strict=True) if there)

    def _entry(self) -> str:
        body = Body("e")
        for name in self.pair.sums:
            body.do(f"%{name}.sum = alloca {DOUBLE.vector}, align 128")
            body.do(f"store {DOUBLE.vector} zeroinitializer, ptr %{name}.sum, align 128")
        floor = "%floor"
        if self.real is not DOUBLE:
            floor = body.put("fptrunc double %floor to float")
        floor = body.put(f"bitcast {self.real.scalar} {floor} to {self.real.bits}")
        body.do(f"%least = insertelement {self.real.bit_vector} undef, "
                f"{self.real.bits} {floor}, i32 0")
        body.do(f"%floors = shufflevector {self.real.bit_vector} %least, "
                f"{self.real.bit_vector} undef, {lanes('i32')} zeroinitializer")
        return body.text()

    def _steps(self) -> dict[str, str]:
        """Write the unrolled steps; return each sum's value after them, added pairwise."""
        body, stacks = self.body, {name: list[tuple[int, str]]() for name in self.pair.sums}
        for step in self._read():
            for name, value in self._step(step).items():
                stack, size = stacks[name], 1
                while stack and stack[-1][0] == size:
                    _, earlier = stack.pop()
                    value = body.put(f"fadd {self.real.vector} {earlier}, {value}")
                    size *= 2
                stack.append((size, value))
        return {
            name: body.put(f"fadd {self.real.vector} %{name}, {stack[0][1]}")
            for name, stack in stacks.items()
        }

    def _read(self):  # type: ignore[no-untyped-def]
        body, pair = self.body, self.pair
        first = body.put(f"mul i64 %t, {self.unroll * LANES}")
        first = body.put(f"add i64 %at, {first}")
        paired = {pair.base, pair.tuned} <= {"BF16", ""}
        for step in range(0, self.unroll, 2):
            places = [body.put(f"add i64 {first}, {(step + k) * LANES}") for k in range(2)]
            operands = [
                [None, None] if not dtype
                else read_bf16_pairs(body, pointer, places[0], self.real) if paired
                else [read(body, dtype, pointer, p, self.real, pair.native_half) for p in places]
                for dtype, pointer in ((pair.base, "%a"), (pair.tuned, "%b"))
            ]
            for k in range(2):
                yield _Step(operands[0][k], operands[1][k], places[k])

    def _step(self, step: _Step) -> dict[str, str]:
        """Write one step; return what it adds to each sum."""
        body, real = self.body, self.real
        vector = real.vector
        a, b, d = self._operands(step)
        valid = ""
        if self.careful:
            valid = self._valid(step, a, b, d)
            a, b, d = (v and body.select(vector, valid, v, "zeroinitializer") for v in (a, b, d))
        out = {}
        for name, x, y in (("base_sq", a, a), ("tuned_sq", b, b), ("delta_sq", d, d),
                           ("inner", a, d)):
            if name in self.pair.sums:
                out[name] = body.put(f"fmul {vector} {x}, {y}")
        if a:
            out["base_abs"] = self._magnitude(a)[1]
        if d:
            bits, out["delta_abs"] = self._magnitude(d)
            self.maximum = body.put(
                f"call {real.bit_vector} @llvm.umax.v{LANES}{real.bits}"
                f"({real.bit_vector} {self.maximum}, {real.bit_vector} {bits})"
            )
            if not self.careful:
                self._count("unequal", body.put(f"icmp ne {real.bit_vector} {bits}, zeroinitializer"))
        if b:
            out["power_sq"] = self._power(b, valid)
        if a and b:
            self._flips(a, b)
        return out

    def _operands(self, step: _Step) -> tuple[str, str, str]:
        """Return base, tuned and change of a step; empty for what is not there."""
        body, vector = self.body, self.real.vector
        a = step.base.value if step.base else ""
        second = step.tuned.value if step.tuned else ""
        if self.pair.delta:
            return a, body.put(f"fadd {vector} {a}, {second}") if a else "", second
        if not (step.base and step.tuned):
            return a, second, ""
        d = body.put(f"fsub {vector} {second}, {a}")
        if step.base.high and step.tuned.high:  # 64-bit integers: exact beyond 2^53
            high = body.put(f"fsub {vector} {step.tuned.high}, {step.base.high}")
            low = body.put(f"fsub {vector} {step.tuned.low}, {step.base.low}")
            high = body.put(f"fmul {vector} {high}, {splat('double', f'{2.0**32:e}')}")
            d = body.put(f"fadd {vector} {high}, {low}")
        return a, second, d

    def _valid(self, step: _Step, a: str, b: str, d: str) -> str:
        """Count what is not finite and what is unequal; return which lanes are summed."""
        body, mask, vector = self.body, lanes("i1"), self.real.vector
        offsets = "<" + ", ".join(f"i64 {k}" for k in range(LANES)) + ">"
        start = body.spread("i64", step.index)
        place = body.put(f"add {lanes('i64')} {start}, {offsets}")
        inside = body.put(f"icmp ult {lanes('i64')} {place}, {body.spread('i64', '%n')}")
        valid = inside
        tuned = b or d
        for name, value in (("nonfinite_base", a), ("nonfinite_tuned", tuned)):
            if not value:
                continue
            bits, _ = self._magnitude(value)
            bad = body.put(
                f"icmp uge {self.real.bit_vector} {bits}, "
                f"{splat(self.real.bits, self.real.exponent)}"
            )
            self._count(name, body.put(f"and {mask} {bad}, {inside}"))
            good = body.put(f"xor {mask} {bad}, {splat('i1', 'true')}")
            valid = body.put(f"and {mask} {valid}, {good}")
        if d:
            unequal = body.put(f"fcmp une {vector} {d}, zeroinitializer")
            if a:
                differ = body.put(f"fcmp une {vector} {a}, {b}")
                known = [body.put(f"fcmp ord {vector} {v}, {v}") for v in (a, b)]
                either = body.put(f"or {mask} {known[0]}, {known[1]}")
                differ = body.put(f"and {mask} {differ}, {either}")
                unequal = body.select(mask, valid, unequal, differ)
            self._count("unequal", body.put(f"and {mask} {unequal}, {inside}"))
        return valid

    def _magnitude(self, value: str) -> tuple[str, str]:
        """Return the bits of |value|, and |value|."""
        body, real = self.body, self.real
        bits = body.put(
            f"and {real.bit_vector} {body.bits(real, value)}, {splat(real.bits, real.magnitude)}"
        )
        return bits, body.real(real, bits)

    def _power(self, value: str, valid: str) -> str:
        """Square the power of two at or below |value|, or the floor."""
        body, real = self.body, self.real
        bits = body.put(
            f"and {real.bit_vector} {body.bits(real, value)}, {splat(real.bits, real.exponent)}"
        )
        bits = body.put(
            f"call {real.bit_vector} @llvm.umax.v{LANES}{real.bits}"
            f"({real.bit_vector} {bits}, {real.bit_vector} %floors)"
        )
        power = body.real(real, bits)
        power = body.put(f"fmul {real.vector} {power}, {power}")
        return body.select(real.vector, valid, power, "zeroinitializer") if valid else power

    def _flips(self, a: str, b: str) -> None:
        """Count opposite signs: b, with its sign times a's, is below zero where a is not zero."""
        body, real = self.body, self.real
        sign = body.put(
            f"and {real.bit_vector} {body.bits(real, a)}, "
            f"{splat(real.bits, real.magnitude + 1)}"
        )
        turned = body.put(f"xor {real.bit_vector} {sign}, {body.bits(real, b)}")
        below = body.put(f"fcmp olt {real.vector} {body.real(real, turned)}, zeroinitializer")
        there = body.put(f"fcmp une {real.vector} {a}, zeroinitializer")
        self._count("sign_flips", body.put(f"and {lanes('i1')} {below}, {there}"))

    def _count(self, name: str, mask: str) -> None:
        wide = self.body.put(f"sext {lanes('i1')} {mask} to {lanes('i32')}")
        self.counts[name] = self.body.put(f"sub {lanes('i32')} {self.counts[name]}, {wide}")

    def _flush(self, totals: dict[str, str]) -> str:
        body = Body("f")
        for name in self.pair.sums:
            total = totals[name]
            if self.real is not DOUBLE:
                total = body.put(f"fpext {self.real.vector} {total} to {DOUBLE.vector}")
            past = body.put(f"load {DOUBLE.vector}, ptr %{name}.sum, align 128")
            now = body.put(f"fadd {DOUBLE.vector} {past}, {total}")
            body.do(f"store {DOUBLE.vector} {now}, ptr %{name}.sum, align 128")
        return body.text()

    def _end(self, whole: dict[str, str]) -> str:
        """Add the lanes, in their order, to the scalars of the result."""
        body, real = Body("x"), self.real
        for name in self.pair.sums:
            total = body.put(f"load {DOUBLE.vector}, ptr %{name}.sum, align 128")
            total = body.put(
                f"call double @llvm.vector.reduce.fadd.{DOUBLE.suffix}"
                f"(double 0.0, {DOUBLE.vector} {total})"
            )
            at = body.put(f"getelementptr double, ptr %s, i64 {SUMS.index(name)}")
            past = body.put(f"load double, ptr {at}, align 8")
            body.do(f"store double {body.put(f'fadd double {past}, {total}')}, ptr {at}, align 8")
        for name in self.counts:
            total = body.put(
                f"call i32 @llvm.vector.reduce.add.v{LANES}i32({lanes('i32')} {whole[name]})"
            )
            total = body.put(f"zext i32 {total} to i64")
            at = body.put(f"getelementptr i64, ptr %c, i64 {COUNTS.index(name)}")
            past = body.put(f"load i64, ptr {at}, align 8")
            body.do(f"store i64 {body.put(f'add i64 {past}, {total}')}, ptr {at}, align 8")
        if self.maximum:
            top = body.put(
                f"call {real.bits} @llvm.vector.reduce.umax.v{LANES}{real.bits}"
                f"({real.bit_vector} {whole['maximum']})"
            )
            top = body.put(f"bitcast {real.bits} {top} to {real.scalar}")
            if real is not DOUBLE:
                top = body.put(f"fpext float {top} to double")
            at = body.put(f"getelementptr double, ptr %s, i64 {len(SUMS)}")
            past = body.put(f"load double, ptr {at}, align 8")
            higher = body.put(f"fcmp ogt double {top}, {past}")
            top = body.put(f"select i1 {higher}, double {top}, double {past}")
            body.do(f"store double {top}, ptr {at}, align 8")
        return body.text()


def _trusted(pair: Pair) -> str:
    """Write the test of a block's sums: finite, and no square that mattered can have vanished."""
    body = Body("k")
    value = {
        name: body.load("double", "%s", "double", str(SUMS.index(name)), align=8)
        for name in pair.sums
    }
    good = "true"
    for name in pair.sums:
        size = body.put(f"call double @llvm.fabs.f64(double {value[name]})")
        finite = body.put(f"fcmp olt double {size}, 0x7FF0000000000000")
        good = body.put(f"and i1 {good}, {finite}")
        if pair.real is DOUBLE or not name.endswith("_sq"):
            continue
        enough = body.put(f"fcmp oge double {value[name]}, {VANISHING:.20e}")
        absolute = value.get(name.replace("_sq", "_abs"))
        if absolute:
            empty = body.put(f"fcmp oeq double {absolute}, 0.0")
            enough = body.put(f"or i1 {enough}, {empty}")
        good = body.put(f"and i1 {good}, {enough}")
    return f"define internal i1 @trusted(ptr %s) {{\n{body.text()}\n  ret i1 {good}\n}}"


_WORD, _LONG = lanes("i32"), lanes("i64")
_DECLARATIONS = f"""
declare {_WORD} @llvm.umax.v{LANES}i32({_WORD}, {_WORD})
declare {_LONG} @llvm.umax.v{LANES}i64({_LONG}, {_LONG})
declare double @llvm.vector.reduce.fadd.v{LANES}f64(double, {DOUBLE.vector})
declare i32 @llvm.vector.reduce.add.v{LANES}i32({_WORD})
declare i32 @llvm.vector.reduce.umax.v{LANES}i32({_WORD})
declare i64 @llvm.vector.reduce.umax.v{LANES}i64({_LONG})
declare double @llvm.fabs.f64(double)
declare i64 @llvm.umin.i64(i64, i64)
"""

# The last entries, fewer than a group, are copied out so that nothing past the end is read.
_OUTER = """
define void @sums(ptr %base, ptr %tuned, i64 %n, double %floor, ptr %sums, ptr %counts) {{
entry:
  %a.tail = alloca [{group} x {base}], align 64
  %b.tail = alloca [{group} x {tuned}], align 64
  %any = icmp ugt i64 %n, 0
  br i1 %any, label %block, label %end
block:
  %k = phi i64 [ 0, %entry ], [ %k.next, %next ]
  %at = mul i64 %k, {block}
  %left = sub i64 %n, %at
  %m = call i64 @llvm.umin.i64(i64 %left, i64 {block})
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
  %done = mul i64 %k.next, {block}
  %more = icmp ult i64 %done, %n
  br i1 %more, label %block, label %end
end:
  ret void
}}
"""
