"""The code that mixes: sixteen entries of each side at a time, and what they add to each sum."""

from __future__ import annotations

from collections.abc import Callable

from ftdiff.kernels.arithmetic import Arithmetic, Traced
from ftdiff.kernels.lanes import FLOAT, LANES, Body, lanes
from ftdiff.kernels.mixture_limits import (
    BITS,
    HALF,
    HALVES,
    MANTISSA,
    REAL,
    SINGLE,
    SLACK,
    WORD,
    Mixing,
    Wide,
    constant,
    counted,
    widened,
)
from ftdiff.kernels.mixture_loop import LOOP
from ftdiff.kernels.step import AHEAD
from ftdiff.kernels.storage import LEAST_EXPONENT, itemsize, read

#: No spacing is weighed as less than two to the power of this: float32 holds one over it.
LEAST = -120
#: Weights, and ends of a coefficient, that float32 is trusted with.
MOST = 2.0


def assembly(mixing: Mixing, way: Callable[[Arithmetic], Traced]) -> str:
    """Return the module whose `mixture(sides, steps, numbers, change, most, …)` adds."""
    code = _Code(mixing)
    code.write(way)
    return code.text()


class _Code:
    """The code of one loop in the making: what every entry adds, and what one in doubt decides.

    Sides are subtracted in float32, and their products, which are exact in float64, are added
    there. So are distances to what an entry is rounded from: the errors of float32 are less than
    what it is allowed for its own arithmetic, and where a distance lies in between, the step is
    decided in float64. What is near at both ends of a line is near between them.
    """

    def __init__(self, mixing: Mixing) -> None:
        self.mixing, self.body, self.slow = mixing, Body(), Wide("d", mixing)
        n = len(mixing.dtypes)
        self.names = [f"g{i}.{j}" for i in range(n) for j in range(i, n)] + ["aa", "bb", "ab"]
        few = [one for one in self.names if one[:2] not in ("g0", "aa", "bb", "ab")]
        summed = self.names if mixing.all else few
        self.sums = {name: f"%{name}" for name in summed}
        self.moved = self.equal = ""
        self.doubt = "false"

    def write(self, way: Callable[[Arithmetic], Traced]) -> None:
        """Write a step."""
        body, dtypes = self.body, self.mixing.dtypes
        at = body.put(f"mul i64 %t, {LANES}")
        values = []
        for k, dtype in enumerate(dtypes):
            self._prefetch(k, dtype, at)
            values.append(read(body, dtype, f"%p{k}", at, FLOAT, self.mixing.half).value)
        merged, *sides = values
        named = [
            Traced(body, side, dtype == dtypes[0])
            for side, dtype in zip(sides, dtypes[1:], strict=True)
        ]
        given = Arithmetic(body, dtypes[0], named)
        made = given.low(way(given)).name
        moved = body.put(f"fcmp une {SINGLE} {merged}, {sides[0]}")
        for side in sides[1:]:
            other = body.put(f"fcmp une {SINGLE} {side}, {sides[0]}")
            moved = body.put(f"or {lanes('i1')} {moved}, {other}")
        same = body.put(f"fcmp oeq {SINGLE} {made}, {merged}")
        same = body.put(f"and {lanes('i1')} {same}, {moved}")
        self.moved, self.equal = self._many(moved), self._many(same)
        self._products(merged, sides)
        if self.mixing.judged:
            self.slow.write(merged, sides, moved)

    def _prefetch(self, k: int, dtype: str, at: str) -> None:
        size = itemsize(dtype)
        start = self.body.put(f"mul i64 {at}, {size}")
        ahead = self.body.put(f"add i64 {start}, {AHEAD}")
        ahead = self.body.put(f"getelementptr i8, ptr %p{k}, i64 {ahead}")
        self.body.do(f"call void @llvm.prefetch.p0(ptr {ahead}, i32 0, i32 3, i32 1)")

    def _products(self, M: str, S: list[str]) -> None:
        W = S[0]
        D = [self._op("fsub", side, W) for side in S[1:]]
        y = self._op("fsub", M, W)
        power, spacing = self._spacing(M)
        inverse = self._inverse(W, spacing)
        first = 0 if self.mixing.all else 1
        rows = [self._op("fmul", row, inverse) for row in (W, *D, y)[first:]]
        A, B = S[-2:]
        plain = {}
        if self.mixing.all:
            plain = {"aa": A, "bb": B, "ab": self._op("fsub", A, B)}
        for cut in HALVES:
            wide = [widened(self.body, row, cut) for row in rows]
            for i, left in enumerate(wide, first):
                for j, right in enumerate(wide[i - first :], i):
                    self._sum(f"g{i}.{j}", left, right)
            for name, value in plain.items():
                own = widened(self.body, value, cut)
                self._sum(name, own, own)
        if self.mixing.judged:
            self._near(W, D, y, self._room(M, power, spacing))

    def _spacing(self, M: str) -> tuple[str, str]:
        """Return the bits of the power of two at or below M, and of the spacing there.

        Of what is smaller than what is weighed they are the least's.
        """
        dtype = self.mixing.dtypes[0]
        digits = MANTISSA[dtype]
        least = max(LEAST_EXPONENT[dtype], LEAST + digits)
        power = self._larger(self._exponent(M), constant("i32", (127 + least) << 23))
        return power, self.body.put(f"sub {WORD} {power}, {constant('i32', digits << 23)}")

    def _inverse(self, W: str, spacing: str) -> str:
        """Return one over the spacing, or over what float32 leaves open of W."""
        float32 = self.body.put(f"sub {WORD} {self._exponent(W)}, {constant('i32', SLACK << 23)}")
        coarse = self._larger(spacing, float32)
        return self.body.real(
            FLOAT, self.body.put(f"sub {WORD} {constant('i32', 254 << 23)}, {coarse}")
        )

    def _room(self, M: str, power: str, spacing: str) -> tuple[str, str, str]:
        """Return M's sign, and how far it may be rounded away from zero and, below it, towards.

        There is none where M is smaller than what is weighed.
        """
        body = self.body
        away = self._op("fmul", body.real(FLOAT, spacing), constant("float", 0.5))
        fraction = body.put(f"and {WORD} {body.bits(FLOAT, M)}, {constant('i32', (1 << 23) - 1)}")
        dense = body.put(f"icmp eq {WORD} {fraction}, zeroinitializer")
        towards = self._op("fmul", away, constant("float", -1.0))
        towards = body.select(
            SINGLE, dense, self._op("fmul", away, constant("float", -0.5)), towards
        )
        tiny = body.put(f"icmp ult {WORD} {self._exponent(M)}, {power}")
        away, towards = (
            body.select(SINGLE, tiny, "zeroinitializer", one) for one in (away, towards)
        )
        sign = body.put(f"and {WORD} {body.bits(FLOAT, M)}, {constant('i32', FLOAT.magnitude + 1)}")
        return sign, away, towards

    def _near(self, W: str, D: list[str], y: str, room: tuple[str, str, str]) -> None:
        """Doubt a step where an entry is not near to what the line's ends give, or the weights."""
        if self.mixing.line is None:
            at = self._op("fmul", W, "%f0")
            for k, d in enumerate(D, 1):
                at = self._op("fadd", at, self._op("fmul", d, f"%f{k}"))
            near = self._within(at, y, room)
        else:
            first, second = self.mixing.line
            start = D[first - 1] if first else ""
            direction = self._op("fsub", D[second - 1], start) if first else D[second - 1]
            ends = [self._op("fmul", direction, end) for end in ("%lows", "%highs")]
            ends = [self._op("fadd", end, start) for end in ends] if first else ends
            low, high = (self._within(end, y, room) for end in ends)
            near = self.body.put(f"and {lanes('i1')} {low}, {high}")
        bits = self.body.put(f"bitcast {lanes('i1')} {near} to i{LANES}")
        doubt = self.body.put(f"icmp ne i{LANES} {bits}, -1")
        self.doubt = self.body.put(f"or i1 {doubt}, %outside")

    def _within(self, value: str, y: str, room: tuple[str, str, str]) -> str:
        sign, away, towards = room
        off = self.body.bits(FLOAT, self._op("fsub", value, y))
        off = self.body.real(FLOAT, self.body.put(f"xor {WORD} {off}, {sign}"))
        above = self.body.put(f"fcmp oge {SINGLE} {off}, {towards}")
        below = self.body.put(f"fcmp ole {SINGLE} {off}, {away}")
        return self.body.put(f"and {lanes('i1')} {above}, {below}")

    def _op(self, operation: str, left: str, right: str) -> str:
        return self.body.put(f"{operation} {SINGLE} {left}, {right}")

    def _sum(self, name: str, left: str, right: str) -> None:
        """Add a product; it is exact, so that it is rounded once however it is added."""
        total = self.sums[name]
        if self.mixing.fused:
            call = f"call {REAL} @llvm.fma.v{HALF}f64"
            total = self.body.put(f"{call}({REAL} {left}, {REAL} {right}, {REAL} {total})")
        else:
            product = self.body.put(f"fmul {REAL} {left}, {right}")
            total = self.body.put(f"fadd {REAL} {total}, {product}")
        self.sums[name] = total

    def _exponent(self, value: str) -> str:
        return self.body.put(
            f"and {WORD} {self.body.bits(FLOAT, value)}, {constant('i32', FLOAT.exponent)}"
        )

    def _larger(self, left: str, right: str) -> str:
        call = f"call {WORD} @llvm.smax.v{LANES}i32"
        return self.body.put(f"{call}({WORD} {left}, {WORD} {right})")

    def _many(self, mask: str) -> str:
        return counted(self.body, mask, LANES)

    def text(self) -> str:
        """Return the module."""
        phis = "\n".join(
            f"  %{name} = phi {REAL} [ zeroinitializer, %entry ], [ {value}, %next ]"
            for name, value in self.sums.items()
        )
        return LOOP.format(
            real=REAL, half=HALF, lanes=LANES, bits=BITS, word=WORD, phis=phis,
            body=self.body.text(), doubt=self.doubt, moved=self.moved, equal=self.equal,
            near=self.moved if self.mixing.judged else "0",
            slow=self.slow.body.text(), right=self.slow.right, low=self.slow.ends[0],
            high=self.slow.ends[1], top=self._top().text(), end=self._end().text(),
            spread=_spread("low") + _spread("high"),
        )  # fmt: skip

    def _top(self) -> Body:
        top = Body("q")
        for k in range(len(self.mixing.dtypes)):
            at = top.put(f"getelementptr ptr, ptr %sides, i64 {k}")
            top.do(f"%p{k} = load ptr, ptr {at}, align 8")
        for k in range(len(self.mixing.dtypes) - 1):
            value = top.load("double", "%change", "double", str(k), align=8)
            one = top.put(f"insertelement {REAL} undef, double {value}, i32 0")
            top.do(f"%c{k} = shufflevector {REAL} {one}, {REAL} undef, <{HALF} x i32> "
                   "zeroinitializer")  # fmt: skip
            value = top.put(f"fptrunc double {value} to float")
            one = top.put(f"insertelement {SINGLE} undef, float {value}, i32 0")
            top.do(f"%f{k} = shufflevector {SINGLE} {one}, {SINGLE} undef, {WORD} "
                   "zeroinitializer")  # fmt: skip
        return top

    def _end(self) -> Body:
        end = Body("x")
        for k, name in enumerate(self.names):
            if name not in self.sums:
                continue
            call = f"call double @llvm.vector.reduce.fadd.v{HALF}f64"
            total = end.put(f"{call}(double 0.0, {REAL} {self.sums[name]})")
            at = end.put(f"getelementptr double, ptr %sums, i64 {k}")
            past = end.put(f"load double, ptr {at}, align 8")
            end.do(f"store double {end.put(f'fadd double {past}, {total}')}, ptr {at}, align 8")
        for k, name in enumerate(("moved", "equal", "right")):
            at = end.put(f"getelementptr i64, ptr %counts, i64 {k}")
            past = end.put(f"load i64, ptr {at}, align 8")
            total = end.put(f"add i64 {past}, %{name}.next")
            end.do(f"store i64 {total}, ptr {at}, align 8")
        return end


def _spread(name: str) -> str:
    """Write an end in each lane of float32."""
    return (
        f"  %{name}.1 = fptrunc double %{name} to float\n"
        f"  %{name}.0 = insertelement {SINGLE} undef, float %{name}.1, i32 0\n"
        f"  %{name}s = shufflevector {SINGLE} %{name}.0, {SINGLE} undef, {WORD} "
        "zeroinitializer\n"
    )
