"""What the code of a mix depends on, its types, and what decides a step in float64."""

from __future__ import annotations

from dataclasses import dataclass

from ftdiff.kernels.lanes import FLOAT, LANES, Body, lanes
from ftdiff.kernels.storage import LEAST_EXPONENT

#: Lanes of float64, of which two runs are sixteen entries.
HALF = LANES // 2
REAL, BITS, MASK = f"<{HALF} x double>", f"<{HALF} x i64>", f"<{HALF} x i1>"
SINGLE, WORD = FLOAT.vector, lanes("i32")
HALVES = tuple(
    f"<{HALF} x i32> <{', '.join(f'i32 {first + i}' for i in range(HALF))}>" for first in (0, HALF)
)
#: Digits of the mantissa after the first.
MANTISSA = {"BF16": 7, "F16": 10, "F32": 23}
#: What float32 leaves of a sum, over its largest term: two to the power of minus this.
SLACK = 22
_EXPONENT = 0x7FF << 52


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
    all
        Whether the first side's own products are summed, and plain ones; else those of changes.
    judged
        Whether it is told what the weights round right, and the line's ends.
    half, fused
        The machine widens and narrows float16; it multiplies and adds with one rounding.
    """

    dtypes: tuple[str, ...]
    code: str
    line: tuple[int, int] | None
    all: bool
    judged: bool
    half: bool
    fused: bool


class Wide:
    """The code that decides a step in float64."""

    def __init__(self, prefix: str, mixing: Mixing) -> None:
        self.body, self.mixing = Body(prefix), mixing
        self.ends, self.right = ["%low", "%high"], "0"

    def write(self, merged: str, sides: list[str], moved: str) -> None:
        """Count the entries that the weights round right, and narrow the ends."""
        many, kind = [], lanes("i1")
        for cut in HALVES:
            M, *S = (widened(self.body, value, cut) for value in (merged, *sides))
            own = self.body.put(f"shufflevector {kind} {moved}, {kind} undef, {cut}")
            D = [self._op("fsub", side, S[0]) for side in S[1:]]
            low, high = self._limits(M, S[0], D)
            change = self._op("fmul", S[0], "%c0")
            for k, d in enumerate(D, 1):
                change = self._op("fadd", change, self._op("fmul", d, f"%c{k}"))
            above = self.body.put(f"fcmp oge {REAL} {change}, {low}")
            below = self.body.put(f"fcmp ole {REAL} {change}, {high}")
            right = self.body.put(f"and {MASK} {above}, {below}")
            right = self.body.put(f"and {MASK} {right}, {own}")
            many.append(counted(self.body, right, HALF))
            if self.mixing.line is not None:
                self._narrow(D, low, high)
        self.right = self.body.put(f"add i64 {many[0]}, {many[1]}")

    def _limits(self, M: str, W: str, D: list[str]) -> tuple[str, str]:
        """Return between which values the merged change lies."""
        body, dtype = self.body, self.mixing.dtypes[0]
        bits = body.put(f"bitcast {REAL} {M} to {BITS}")
        power = body.put(f"and {BITS} {bits}, {constant('i64', _EXPONENT)}")
        least = (1023 + LEAST_EXPONENT[dtype]) << 52
        call = f"call {BITS} @llvm.smax.v{HALF}i64"
        power = body.put(f"{call}({BITS} {power}, {BITS} {constant('i64', least)})")
        half = body.put(f"sub {BITS} {power}, {constant('i64', (MANTISSA[dtype] + 1) << 52)}")
        half = body.put(f"bitcast {BITS} {half} to {REAL}")
        fraction = body.put(f"and {BITS} {bits}, {constant('i64', (1 << 52) - 1)}")
        whole = body.put(f"icmp eq {BITS} {fraction}, zeroinitializer")
        limit = constant("double", 2.0 ** LEAST_EXPONENT[dtype])
        above = body.put(f"fcmp ogt {REAL} {self._size(M)}, {limit}")
        dense = body.put(f"and {MASK} {whole}, {above}")
        inner = self._pick(dense, self._op("fmul", half, constant("double", 0.5)), half)
        below = body.put(f"fcmp ogt {REAL} {M}, zeroinitializer")
        upward = body.put(f"fcmp oge {REAL} {M}, zeroinitializer")
        room = self._size(W)
        for d in D:
            room = self._op("fadd", room, self._size(d))
        room = self._op("fmul", room, constant("double", 2.0**-SLACK))
        low = self._op("fsub", M, self._pick(below, inner, half))
        low = self._op("fsub", self._op("fsub", low, W), room)
        high = self._op("fadd", M, self._pick(upward, half, inner))
        return low, self._op("fadd", self._op("fsub", high, W), room)

    def _narrow(self, D: list[str], low: str, high: str) -> None:
        """Leave the line's coefficient where these entries allow it to lie."""
        assert self.mixing.line is not None
        first, second = self.mixing.line
        start = D[first - 1] if first else "zeroinitializer"
        direction = self._op("fsub", D[second - 1], start) if first else D[second - 1]
        lower, upper = (
            self._op("fdiv", self._op("fsub", limit, start), direction) for limit in (low, high)
        )
        number = self.body.put(f"fcmp ord {REAL} {lower}, {upper}")
        ordered = self.body.put(f"fcmp olt {REAL} {lower}, {upper}")
        ends = ((lower, upper, "fmax", "ogt", "-"), (upper, lower, "fmin", "olt", "+"))
        for k, (one, other, reduce, better, sign) in enumerate(ends):
            own = self._pick(ordered, one, other)
            # of no direction and on a bound: no number, and nothing that it forbids
            open_ = "0xFFF0000000000000" if sign == "-" else "0x7FF0000000000000"
            own = self._pick(number, own, constant("double", open_))
            call = f"call double @llvm.vector.reduce.{reduce}.v{HALF}f64"
            own = self.body.put(f"{call}({REAL} {own})")
            past = self.ends[k]
            test = self.body.put(f"fcmp {better} double {own}, {past}")
            self.ends[k] = self.body.put(f"select i1 {test}, double {own}, double {past}")

    def _op(self, operation: str, left: str, right: str) -> str:
        return self.body.put(f"{operation} {REAL} {left}, {right}")

    def _size(self, value: str) -> str:
        return self.body.put(f"call {REAL} @llvm.fabs.v{HALF}f64({REAL} {value})")

    def _pick(self, mask: str, yes: str, no: str) -> str:
        return self.body.put(f"select {MASK} {mask}, {REAL} {yes}, {REAL} {no}")


def widened(body: Body, value: str, cut: str) -> str:
    """Return eight of sixteen lanes in float64."""
    half = body.put(f"shufflevector {SINGLE} {value}, {SINGLE} undef, {cut}")
    return body.put(f"fpext <{HALF} x float> {half} to {REAL}")


def counted(body: Body, mask: str, width: int) -> str:
    """Return how many of a mask's lanes are set."""
    bits = body.put(f"bitcast <{width} x i1> {mask} to i{width}")
    many = body.put(f"call i{width} @llvm.ctpop.i{width}(i{width} {bits})")
    return body.put(f"zext i{width} {many} to i64")


def constant(scalar: str, value: str | float) -> str:
    """Return the constant that holds a value in each lane, sixteen of 32 bits or eight of 64."""
    text = f"{value:.20e}" if isinstance(value, float) else str(value)
    width = LANES if scalar in ("i32", "float") else HALF
    return f"<{', '.join([f'{scalar} {text}'] * width)}>"
