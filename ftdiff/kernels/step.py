"""One step of the fused loop: sixteen entries of each operand, and what they add to each sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ftdiff.kernels.lanes import FLOAT, LANES, Body, Real, lanes, splat
from ftdiff.kernels.operands import Operands
from ftdiff.kernels.storage import Lanes, itemsize, read, read_bf16_pairs

#: Bytes between what is computed with and what is asked for.
AHEAD = 2048
#: A product's two factors, or a term that is added as it is.
Term = tuple[str, ...]


@dataclass
class Steps:
    """The straight-line code of some steps, and the counts and the maximum as they run.

    Attributes
    ----------
    operands
        What is read.
    real
        What is computed in.
    careful
        Leave out what is not finite, or past the `%n`-th entry, and count it.
    body
        The code so far.
    counts, maximum
        The names of the values that hold them; at first those that enter the code.
    """

    operands: Operands
    real: Real
    careful: bool
    body: Body = field(default_factory=Body)
    counts: dict[str, str] = field(default_factory=dict)
    maximum: str = "%maximum"

    def __post_init__(self) -> None:
        self.counts = {name: f"%{name}" for name in self.operands.counts(self.careful)}

    def write(self, first: str, count: int) -> Iterator[dict[str, Term]]:
        """Write `count` steps, an even number; yield the terms of each step's sums."""
        if not self.careful:
            self._prefetch(first, count)
        given = self.operands
        paired = not self.careful and {given.base, given.tuned} <= {"BF16", ""}
        for step in range(0, count, 2):
            places = [self.body.put(f"add i64 {first}, {(step + k) * LANES}") for k in range(2)]
            base, tuned = (
                self._read(dtype, pointer, places, paired)
                for dtype, pointer in ((given.base, "%a"), (given.tuned, "%b"))
            )
            for k in range(2):
                yield self._terms(base[k], tuned[k], places[k])

    def _prefetch(self, first: str, count: int) -> None:
        """Ask for the lines of a later round: the hardware's own asking ends with a page."""
        for dtype, pointer in ((self.operands.base, "%a"), (self.operands.tuned, "%b")):
            size = itemsize(dtype) if dtype else 0
            start = self.body.put(f"mul i64 {first}, {size}")
            for line in range(0, count * LANES * size, 64):
                ahead = self.body.put(f"add i64 {start}, {AHEAD + line}")
                ahead = self.body.put(f"getelementptr i8, ptr {pointer}, i64 {ahead}")
                self.body.do(f"call void @llvm.prefetch.p0(ptr {ahead}, i32 0, i32 3, i32 1)")

    def _read(self, dtype: str, pointer: str, places: list[str], paired: bool) -> list[Lanes]:
        if not dtype:
            return [Lanes(""), Lanes("")]
        if paired:
            return read_bf16_pairs(self.body, pointer, places[0], self.real)
        half = self.operands.half
        return [read(self.body, dtype, pointer, place, self.real, half) for place in places]

    def _terms(self, base: Lanes, tuned: Lanes, place: str) -> dict[str, Term]:
        """Write one step; return what it adds to each sum."""
        a, b, d = self._values(base, tuned)
        valid = ""
        if self.careful:
            valid = self._valid(place, a, b, d)
            kind, zero = self.real.vector, "zeroinitializer"
            a, b, d = (v and self.body.select(kind, valid, v, zero) for v in (a, b, d))
        terms: dict[str, Term] = {}
        if a:
            terms |= {"base_sq": (a, a), "base_abs": (self._magnitude(a)[1],)}
        if b:
            power = self._power(b, valid)
            terms |= {"tuned_sq": (b, b), "power_sq": (power, power)}
        if d:
            terms |= {"delta_sq": (d, d), "delta_abs": (self._change(d),)}
        if a and d:
            terms["inner"] = (a, d)
            self._flips(a, b)
        return terms

    def _values(self, base: Lanes, tuned: Lanes) -> tuple[str, str, str]:
        """Return base, tuned and change; empty for what is not there."""
        body, kind, a = self.body, self.real.vector, base.value
        if self.operands.delta:
            d = tuned.value
            return a, body.put(f"fadd {kind} {a}, {d}") if a else "", d
        b = tuned.value
        if not (a and b):
            return a, b, ""
        if not (base.high and tuned.high):
            return a, b, body.put(f"fsub {kind} {b}, {a}")
        # 64-bit integers: the halves' differences are exact, so this is rounded once.
        high = body.put(f"fsub {kind} {tuned.high}, {base.high}")
        low = body.put(f"fsub {kind} {tuned.low}, {base.low}")
        high = body.put(f"fmul {kind} {high}, {splat('double', f'{2.0**32:.1f}')}")
        return a, b, body.put(f"fadd {kind} {high}, {low}")

    def _change(self, d: str) -> str:
        """Take |d| to the maximum and, unless `_valid` has, to the unequal; return it."""
        bits, size = self._magnitude(d)
        self.maximum = self._larger(self.maximum, bits)
        if not self.careful:  # a difference of floats is zero only if they are equal
            mask = self.body.put(f"icmp ne {self.real.bit_vector} {bits}, zeroinitializer")
            self._count("unequal", mask)
        return size

    def _valid(self, place: str, a: str, b: str, d: str) -> str:
        """Count what is not finite and what is unequal; return the mask of what is summed."""
        body, mask, word = self.body, lanes("i1"), lanes("i64")
        offsets = f"<{', '.join(f'i64 {k}' for k in range(LANES))}>"
        index = body.put(f"add {word} {body.spread('i64', place)}, {offsets}")
        inside = body.put(f"icmp ult {word} {index}, {body.spread('i64', '%n')}")
        valid, top = inside, splat(self.real.bits, self.real.exponent)
        for name, value in (("nonfinite_base", a), ("nonfinite_tuned", b or d)):
            if value:
                bits, _ = self._magnitude(value)
                bad = body.put(f"icmp uge {self.real.bit_vector} {bits}, {top}")
                self._count(name, body.put(f"and {mask} {bad}, {inside}"))
                good = body.put(f"icmp ult {self.real.bit_vector} {bits}, {top}")
                valid = body.put(f"and {mask} {valid}, {good}")
        if d:
            self._count(
                "unequal", body.put(f"and {mask} {self._unequal(valid, a, b, d)}, {inside}")
            )
        return valid

    def _unequal(self, valid: str, a: str, b: str, d: str) -> str:
        """Return where the numbers differ: NaN is equal to NaN and to nothing else."""
        body, kind = self.body, self.real.vector
        changed = body.put(f"fcmp une {kind} {d}, zeroinitializer")
        if not a:
            return changed
        differ = body.put(f"fcmp une {kind} {a}, {b}")
        numbers = [body.put(f"fcmp ord {kind} {value}, {value}") for value in (a, b)]
        either = body.put(f"or {lanes('i1')} {numbers[0]}, {numbers[1]}")
        differ = body.put(f"and {lanes('i1')} {differ}, {either}")
        return body.select(lanes("i1"), valid, changed, differ)

    def _magnitude(self, value: str) -> tuple[str, str]:
        """Return |value|, as bits and as reals."""
        bits = self._masked(value, self.real.magnitude)
        return bits, self.body.real(self.real, bits)

    def _power(self, value: str, valid: str) -> str:
        """Return the power of two at or below |value|, or the floor; zero where not valid."""
        bits = self._masked(value, self.real.exponent)
        if self.operands.floored or self.careful:
            bits = self._larger(bits, "%floors")
        power = self.body.real(self.real, bits)
        if not valid:
            return power
        return self.body.select(self.real.vector, valid, power, "zeroinitializer")

    def _flips(self, a: str, b: str) -> None:
        """Count opposite signs: b with its sign times a's is below zero, and a is not zero."""
        body, real = self.body, self.real
        sign = self._masked(a, real.magnitude + 1)
        turned = body.put(f"xor {real.bit_vector} {sign}, {body.bits(real, b)}")
        below = body.put(f"fcmp olt {real.vector} {body.real(real, turned)}, zeroinitializer")
        there = body.put(f"fcmp une {real.vector} {a}, zeroinitializer")
        self._count("sign_flips", body.put(f"and {lanes('i1')} {below}, {there}"))

    def _masked(self, value: str, mask: int) -> str:
        bits, kind = self.body.bits(self.real, value), self.real.bit_vector
        return self.body.put(f"and {kind} {bits}, {splat(self.real.bits, mask)}")

    def _larger(self, left: str, right: str) -> str:
        """Return the larger of two bit patterns: of reals without sign, the larger number's."""
        kind = self.real.bit_vector
        call = f"call {kind} @llvm.umax.v{LANES}{self.real.bits}"
        return self.body.put(f"{call}({kind} {left}, {kind} {right})")

    def _count(self, name: str, mask: str) -> None:
        word, count = lanes("i32"), self.counts[name]
        more = self.body.put(f"add {word} {count}, {splat('i32', 1)}")
        self.counts[name] = self.body.select(word, mask, more, count)


_LONG, _WORD = lanes("i64"), lanes("i32")
#: What the code calls.
DECLARATIONS = f"""
declare {_WORD} @llvm.umax.v{LANES}i32({_WORD}, {_WORD})
declare {_LONG} @llvm.umax.v{LANES}i64({_LONG}, {_LONG})
declare {FLOAT.vector} @llvm.fma.{FLOAT.suffix}({FLOAT.vector}, {FLOAT.vector}, {FLOAT.vector})
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
"""
