"""The code that mixes: sixteen entries of each side at a time, and what they add to each sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ftdiff.kernels.lanes import FLOAT, LANES, Body, lanes, splat
from ftdiff.kernels.step import AHEAD
from ftdiff.kernels.storage import LEAST_EXPONENT, itemsize, read

#: Lanes of float64, of which two runs are sixteen entries.
_HALF = LANES // 2
_REAL, _BITS, _MASK = f"<{_HALF} x double>", f"<{_HALF} x i64>", f"<{_HALF} x i1>"
#: Digits of the mantissa after the first.
_MANTISSA = {"BF16": 7, "F16": 10, "F32": 23}
#: What float32 leaves of a sum, over its largest term: two to the power of minus this.
_SLACK = 22
_EXPONENT, _FRACTION = 0x7FF << 52, (1 << 52) - 1


@dataclass(frozen=True)
class Mixing:
    """What the code depends on.

    Attributes
    ----------
    dtypes
        Of the merged tensor and of the sides.
    code
        What the arithmetic does.
    line
        Which two sides the coefficient's line goes through.
    half
        The machine widens and narrows float16.
    """

    dtypes: tuple[str, ...]
    code: str
    line: tuple[int, int] | None
    half: bool


@dataclass(frozen=True, eq=False)
class Traced:
    """A value of an arithmetic that writes down what is done with it, in float32."""

    body: Body
    name: str

    def _with(self, operation: str, left: Traced, right: Traced) -> Traced:
        return Traced(
            self.body, self.body.put(f"{operation} {FLOAT.vector} {left.name}, {right.name}")
        )

    def __add__(self, other: Traced) -> Traced:
        return self._with("fadd", self, other)

    def __sub__(self, other: Traced) -> Traced:
        return self._with("fsub", self, other)

    def __mul__(self, other: Traced) -> Traced:
        return self._with("fmul", self, other)

    def __truediv__(self, other: Traced) -> Traced:
        return self._with("fdiv", self, other)


@dataclass(eq=False)
class Arithmetic:
    """What an arithmetic is given: the sides, and the numbers and roundings that it asks for."""

    body: Body
    stored: str
    sides: Sequence[Traced]
    numbers: list[float] = field(default_factory=list)

    def number(self, value: float) -> Traced:
        """Return a coefficient, in float32."""
        loaded = self.body.load("float", "%numbers", "float", str(len(self.numbers)), align=4)
        self.numbers.append(value)
        return Traced(self.body, self.body.spread("float", loaded))

    def low(self, value: Traced) -> Traced:
        """Round to the stored dtype, to the nearest, halves to the even one."""
        body, word = self.body, lanes("i32")
        if self.stored == "F32":
            return value
        if self.stored == "F16":
            half = body.put(f"fptrunc {FLOAT.vector} {value.name} to {lanes('half')}")
            return Traced(body, body.put(f"fpext {lanes('half')} {half} to {FLOAT.vector}"))
        bits = body.bits(FLOAT, value.name)
        odd = body.put(f"lshr {word} {bits}, {splat('i32', 16)}")
        odd = body.put(f"and {word} {odd}, {splat('i32', 1)}")
        more = body.put(f"add {word} {odd}, {splat('i32', 0x7FFF)}")
        bits = body.put(f"add {word} {bits}, {more}")
        bits = body.put(f"and {word} {bits}, {splat('i32', 0xFFFF0000)}")
        return Traced(body, body.real(FLOAT, bits))


def traced(
    way: Callable[[Arithmetic], Traced], stored: str, sides: int
) -> tuple[str, list[float]]:
    """Return what an arithmetic does, and the numbers that it does it with."""
    body = Body("t")
    given = Arithmetic(body, stored, [Traced(body, f"%s{k}") for k in range(sides)])
    last = way(given)
    return f"{body.text()}\n{last.name}", given.numbers


def assembly(mixing: Mixing, way: Callable[[Arithmetic], Traced]) -> str:
    """Return the module whose `mixture(sides, steps, numbers, change, sums, counts, ends)` adds."""
    code = _Code(mixing)
    code.write(way)
    return code.text()


class _Code:
    """The code of one loop in the making."""

    def __init__(self, mixing: Mixing) -> None:
        self.mixing, self.body, self.slow = mixing, Body(), Body("d")
        n = len(mixing.dtypes)
        self.names = [f"g{i}.{j}" for i in range(n) for j in range(i, n)] + ["aa", "bb", "ab"]
        self.sums = {name: f"%{name}" for name in self.names}
        self.counts = {name: f"%{name}" for name in ("moved", "equal", "right")}
        self.off: list[str] = []
        self.ends = ["%low", "%high"]

    def write(self, way: Callable[[Arithmetic], Traced]) -> None:
        body, dtypes = self.body, self.mixing.dtypes
        at = body.put(f"mul i64 %t, {LANES}")
        values = []
        for k, dtype in enumerate(dtypes):
            self._prefetch(k, dtype, at)
            values.append(read(body, dtype, f"%p{k}", at, FLOAT, self.mixing.half).value)
        merged, *sides = values
        given = Arithmetic(body, dtypes[0], [Traced(body, side) for side in sides])
        made = given.low(way(given)).name
        moved = body.put(f"fcmp une {FLOAT.vector} {merged}, {sides[0]}")
        for side in sides[1:]:
            other = body.put(f"fcmp une {FLOAT.vector} {side}, {sides[0]}")
            moved = body.put(f"or {lanes('i1')} {moved}, {other}")
        same = body.put(f"fcmp oeq {FLOAT.vector} {made}, {merged}")
        self._count("moved", moved, LANES)
        self._count("equal", body.put(f"and {lanes('i1')} {same}, {moved}"), LANES)
        for h in (0, 1):
            places = ", ".join(f"i32 {h * _HALF + i}" for i in range(_HALF))
            cut = f"<{_HALF} x i32> <{places}>"
            M, *S = (self._wide(value, cut) for value in values)
            kind = lanes("i1")
            own = body.put(f"shufflevector {kind} {moved}, {kind} undef, {cut}")
            self._half(M, S, own)

    def _prefetch(self, k: int, dtype: str, at: str) -> None:
        size = itemsize(dtype)
        start = self.body.put(f"mul i64 {at}, {size}")
        ahead = self.body.put(f"add i64 {start}, {AHEAD}")
        ahead = self.body.put(f"getelementptr i8, ptr %p{k}, i64 {ahead}")
        self.body.do(f"call void @llvm.prefetch.p0(ptr {ahead}, i32 0, i32 3, i32 1)")

    def _wide(self, value: str, cut: str) -> str:
        kind = FLOAT.vector
        half = self.body.put(f"shufflevector {kind} {value}, {kind} undef, {cut}")
        return self.body.put(f"fpext <{_HALF} x float> {half} to {_REAL}")

    def _half(self, M: str, S: list[str], moved: str) -> None:
        """Add eight entries."""
        W = S[0]
        D = [self._op("fsub", side, W) for side in S[1:]]
        y = self._op("fsub", M, W)
        spacing, inverse = self._spacing(M, W)
        rows = [self._op("fmul", row, inverse) for row in (W, *D, y)]
        for i, left in enumerate(rows):
            for j in range(i, len(rows)):
                self._sum(f"g{i}.{j}", left, rows[j])
        A, B = S[-2:]
        apart = self._op("fsub", A, B)
        for name, value in (("aa", A), ("bb", B), ("ab", apart)):
            self._sum(name, value, value)
        low, high = self._limits(M, W, D, spacing)
        change = self._op("fmul", W, "%c0")
        for k, d in enumerate(D, 1):
            change = self._op("fadd", change, self._op("fmul", d, f"%c{k}"))
        right = self._within(change, low, high)
        self._count("right", self.body.put(f"and {_MASK} {right}, {moved}"), _HALF)
        if self.mixing.line is not None:
            self._ends(D, low, high)

    def _spacing(self, M: str, W: str) -> tuple[str, str]:
        """Return the spacing at M, and one over it, or over what float32 leaves open of W."""
        dtype, body = self.mixing.dtypes[0], self.body
        least = (1023 + LEAST_EXPONENT[dtype]) << 52
        power = self._larger(self._exponent(M), str(least))
        spacing = body.put(f"sub {_BITS} {power}, {_all('i64', _MANTISSA[dtype] << 52)}")
        float32 = body.put(f"sub {_BITS} {self._exponent(W)}, {_all('i64', _SLACK << 52)}")
        coarse = self._larger(spacing, float32)
        inverse = body.put(f"sub {_BITS} {_all('i64', 2046 << 52)}, {coarse}")
        return self._real(spacing), self._real(inverse)

    def _limits(self, M: str, W: str, D: list[str], spacing: str) -> tuple[str, str]:
        """Return between which values the merged change lies."""
        body, dtype = self.body, self.mixing.dtypes[0]
        half = self._op("fmul", spacing, _all("double", 0.5))
        quarter = self._op("fmul", spacing, _all("double", 0.25))
        bits = body.put(f"bitcast {_REAL} {M} to {_BITS}")
        fraction = body.put(f"and {_BITS} {bits}, {_all('i64', _FRACTION)}")
        power = body.put(f"icmp eq {_BITS} {fraction}, zeroinitializer")
        size = self._size(M)
        above = body.put(f"fcmp ogt {_REAL} {size}, {_all('double', 2.0 ** LEAST_EXPONENT[dtype])}")
        dense = body.put(f"and {_MASK} {power}, {above}")
        inner = self._pick(dense, quarter, half)
        below = body.put(f"fcmp ogt {_REAL} {M}, zeroinitializer")
        upward = body.put(f"fcmp oge {_REAL} {M}, zeroinitializer")
        room = self._size(W)
        for d in D:
            room = self._op("fadd", room, self._size(d))
        room = self._op("fmul", room, _all("double", 2.0**-_SLACK))
        low = self._op("fsub", M, self._pick(below, inner, half))
        low = self._op("fsub", self._op("fsub", low, W), room)
        high = self._op("fadd", M, self._pick(upward, half, inner))
        return low, self._op("fadd", self._op("fsub", high, W), room)

    def _ends(self, D: list[str], low: str, high: str) -> None:
        """Look whether an entry forbids one of the ends, and write how they are moved if so."""
        assert self.mixing.line is not None
        first, second = self.mixing.line
        start = "zeroinitializer" if not first else D[first - 1]
        direction = D[second - 1] if not first else self._op("fsub", D[second - 1], D[first - 1])
        good = ""
        for end in ("%lows", "%highs"):
            at = self._op("fadd", self._op("fmul", direction, end), start)
            inside = self._within(at, low, high)
            good = self.body.put(f"and {_MASK} {good}, {inside}") if good else inside
        self.off.append(self.body.put(f"xor {_MASK} {good}, {_all('i1', 'true')}"))
        slow = self.slow
        ends = []
        for limit in (low, high):
            rest = slow.put(f"fsub {_REAL} {limit}, {start}")
            ends.append(slow.put(f"fdiv {_REAL} {rest}, {direction}"))
        number = slow.put(f"fcmp ord {_REAL} {ends[0]}, {ends[1]}")
        below = slow.put(f"fcmp olt {_REAL} {ends[0]}, {ends[1]}")
        for k, (one, two, open_, better) in enumerate(
            ((ends[0], ends[1], "0xFFF0000000000000", "fmax"),
             (ends[1], ends[0], "0x7FF0000000000000", "fmin"))
        ):  # fmt: skip
            own = slow.put(f"select {_MASK} {below}, {_REAL} {one}, {_REAL} {two}")
            own = slow.put(f"select {_MASK} {number}, {_REAL} {own}, {_REAL} {_all('double', open_)}")
            call = f"call double @llvm.vector.reduce.{better}.v{_HALF}f64"
            own = slow.put(f"{call}({_REAL} {own})")
            test = "ogt" if better == "fmax" else "olt"
            narrow = slow.put(f"fcmp {test} double {own}, {self.ends[k]}")
            self.ends[k] = slow.put(f"select i1 {narrow}, double {own}, double {self.ends[k]}")

    def _op(self, operation: str, left: str, right: str) -> str:
        return self.body.put(f"{operation} {_REAL} {left}, {right}")

    def _sum(self, name: str, left: str, right: str) -> None:
        self.sums[name] = self._op("fadd", self.sums[name], self._op("fmul", left, right))

    def _size(self, value: str) -> str:
        return self.body.put(f"call {_REAL} @llvm.fabs.v{_HALF}f64({_REAL} {value})")

    def _exponent(self, value: str) -> str:
        bits = self.body.put(f"bitcast {_REAL} {value} to {_BITS}")
        return self.body.put(f"and {_BITS} {bits}, {_all('i64', _EXPONENT)}")

    def _larger(self, left: str, right: str) -> str:
        right = right if right.startswith("%") else _all("i64", right)
        call = f"call {_BITS} @llvm.smax.v{_HALF}i64"
        return self.body.put(f"{call}({_BITS} {left}, {_BITS} {right})")

    def _real(self, bits: str) -> str:
        return self.body.put(f"bitcast {_BITS} {bits} to {_REAL}")

    def _pick(self, mask: str, yes: str, no: str) -> str:
        return self.body.put(f"select {_MASK} {mask}, {_REAL} {yes}, {_REAL} {no}")

    def _within(self, value: str, low: str, high: str) -> str:
        above = self.body.put(f"fcmp oge {_REAL} {value}, {low}")
        below = self.body.put(f"fcmp ole {_REAL} {value}, {high}")
        return self.body.put(f"and {_MASK} {above}, {below}")

    def _count(self, name: str, mask: str, width: int) -> None:
        bits = self.body.put(f"bitcast <{width} x i1> {mask} to i{width}")
        many = self.body.put(f"call i{width} @llvm.ctpop.i{width}(i{width} {bits})")
        many = self.body.put(f"zext i{width} {many} to i64")
        self.counts[name] = self.body.put(f"add i64 {self.counts[name]}, {many}")

    def text(self) -> str:
        """Return the module."""
        any_ = "false"
        if self.off:
            off = self.body.put(f"or {_MASK} {self.off[0]}, {self.off[1]}")
            off = self.body.put(f"bitcast {_MASK} {off} to i{_HALF}")
            off = self.body.put(f"icmp ne i{_HALF} {off}, 0")
            alive = self.body.put("fcmp ole double %low, %high")
            any_ = self.body.put(f"and i1 {off}, {alive}")
        carried = {name: (_REAL, value) for name, value in self.sums.items()}
        carried |= {name: ("i64", value) for name, value in self.counts.items()}
        phis = "\n".join(
            f"  %{name} = phi {kind} [ {'0' if kind == 'i64' else 'zeroinitializer'}, %entry ], "
            f"[ {value}, %next ]"
            for name, (kind, value) in carried.items()
        )
        top, end = self._top(), self._end()
        return _LOOP.format(
            real=_REAL, half=_HALF, lanes=LANES, bits=_BITS, top=top.text(), phis=phis,
            body=self.body.text(), any=any_, slow=self.slow.text(), low=self.ends[0],
            high=self.ends[1], end=end.text(), spread=self._spread_ends(),
        )  # fmt: skip

    def _top(self) -> Body:
        top = Body("q")
        for k in range(len(self.mixing.dtypes)):
            at = top.put(f"getelementptr ptr, ptr %sides, i64 {k}")
            top.do(f"%p{k} = load ptr, ptr {at}, align 8")
        for k in range(len(self.mixing.dtypes) - 1):
            value = top.load("double", "%change", "double", str(k), align=8)
            one = top.put(f"insertelement {_REAL} undef, double {value}, i32 0")
            top.do(f"%c{k} = shufflevector {_REAL} {one}, {_REAL} undef, <{_HALF} x i32> "
                   "zeroinitializer")  # fmt: skip
        return top

    def _spread_ends(self) -> str:
        return "\n".join(
            f"  %{name}.0 = insertelement {_REAL} undef, double %{name}, i32 0\n"
            f"  %{name}s = shufflevector {_REAL} %{name}.0, {_REAL} undef, <{_HALF} x i32> "
            "zeroinitializer"
            for name in ("low", "high")
        )

    def _end(self) -> Body:
        end = Body("x")
        for k, name in enumerate(self.names):
            call = f"call double @llvm.vector.reduce.fadd.v{_HALF}f64"
            total = end.put(f"{call}(double 0.0, {_REAL} {self.sums[name]})")
            at = end.put(f"getelementptr double, ptr %sums, i64 {k}")
            past = end.put(f"load double, ptr {at}, align 8")
            end.do(f"store double {end.put(f'fadd double {past}, {total}')}, ptr {at}, align 8")
        for k, value in enumerate(self.counts.values()):
            at = end.put(f"getelementptr i64, ptr %counts, i64 {k}")
            past = end.put(f"load i64, ptr {at}, align 8")
            end.do(f"store i64 {end.put(f'add i64 {past}, {value}')}, ptr {at}, align 8")
        return end


def _all(scalar: str, value: str | float) -> str:
    """Return the constant of eight lanes that holds a value in each."""
    text = f"{value:.20e}" if isinstance(value, float) else str(value)
    return f"<{', '.join([f'{scalar} {text}'] * _HALF)}>"


_LOOP = """
declare double @llvm.vector.reduce.fadd.v{half}f64(double, {real})
declare double @llvm.vector.reduce.fmax.v{half}f64({real})
declare double @llvm.vector.reduce.fmin.v{half}f64({real})
declare {real} @llvm.fabs.v{half}f64({real})
declare {bits} @llvm.smax.v{half}i64({bits}, {bits})
declare i{half} @llvm.ctpop.i{half}(i{half})
declare i{lanes} @llvm.ctpop.i{lanes}(i{lanes})
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
define void @mixture(ptr %sides, i64 %steps, ptr %numbers, ptr %change, ptr %sums, ptr %counts,
                     ptr %ends) {{
entry:
{top}
  %ends.1 = getelementptr double, ptr %ends, i64 1
  br label %step
step:
  %t = phi i64 [ 0, %entry ], [ %t.next, %next ]
{phis}
  %low = load double, ptr %ends, align 8
  %high = load double, ptr %ends.1, align 8
{spread}
{body}
  br i1 {any}, label %narrow, label %next
narrow:
{slow}
  store double {low}, ptr %ends, align 8
  store double {high}, ptr %ends.1, align 8
  br label %next
next:
  %t.next = add i64 %t, 1
  %more = icmp ult i64 %t.next, %steps
  br i1 %more, label %step, label %end
end:
{end}
  ret void
}}
"""
