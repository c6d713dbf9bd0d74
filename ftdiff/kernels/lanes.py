"""Write LLVM's assembly by naming values: sixteen lanes, on any machine the same sixteen."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Entries that one step takes. Fixed, so that a sum is the same bits however wide the machine is.
LANES = 16


def lanes(scalar: str) -> str:
    """Return the vector type of `LANES` scalars."""
    return f"<{LANES} x {scalar}>"


def splat(scalar: str, value: str | int) -> str:
    """Return the constant vector that holds `value` in each lane."""
    return f"<{', '.join([f'{scalar} {value}'] * LANES)}>"


@dataclass(frozen=True)
class Real:
    """The type that is computed in, and the integers that hold its bits."""

    scalar: str  # float or double
    bits: str  # i32 or i64
    exponent: int  # the mask of its exponent's bits
    magnitude: int  # the mask of all but the sign

    @property
    def vector(self) -> str:
        """Its lanes."""
        return lanes(self.scalar)

    @property
    def bit_vector(self) -> str:
        """The lanes of its bits."""
        return lanes(self.bits)

    @property
    def suffix(self) -> str:
        """How LLVM's intrinsics spell its lanes."""
        return f"v{LANES}f{self.bits[1:]}"


FLOAT = Real("float", "i32", 0x7F800000, 0x7FFFFFFF)
DOUBLE = Real("double", "i64", 0x7FF0000000000000, 0x7FFFFFFFFFFFFFFF)


@dataclass
class Body:
    """Straight-line code in the making; each operation returns the name of its value."""

    prefix: str = "v"
    lines: list[str] = field(default_factory=list)

    def put(self, text: str) -> str:
        """Append an instruction and return the name of its value."""
        name = f"%{self.prefix}{len(self.lines)}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Append an instruction that has no value."""
        self.lines.append(f"  {text}")

    def load(self, kind: str, base: str, scalar: str, index: str, align: int = 1) -> str:
        """Load a `kind` from the `index`-th `scalar` after `base`."""
        at = self.put(f"getelementptr {scalar}, ptr {base}, i64 {index}")
        return self.put(f"load {kind}, ptr {at}, align {align}")

    def bits(self, real: Real, value: str) -> str:
        """Return the bits of a vector of reals."""
        return self.put(f"bitcast {real.vector} {value} to {real.bit_vector}")

    def real(self, real: Real, bits: str) -> str:
        """Return the vector of reals that has these bits."""
        return self.put(f"bitcast {real.bit_vector} {bits} to {real.vector}")

    def select(self, kind: str, mask: str, yes: str, no: str) -> str:
        """Choose lane by lane."""
        return self.put(f"select {lanes('i1')} {mask}, {kind} {yes}, {kind} {no}")

    def spread(self, scalar: str, value: str) -> str:
        """Return the vector that holds a scalar in each lane."""
        kind = lanes(scalar)
        first = self.put(f"insertelement {kind} undef, {scalar} {value}, i32 0")
        return self.put(
            f"shufflevector {kind} {first}, {kind} undef, {lanes('i32')} zeroinitializer"
        )

    def multiply_add(self, x: str, y: str, z: str, fused: bool) -> str:
        """Return x·y + z in float32, rounded once, with or without an instruction for it.

        Without: x·y is exact in float64, and the sum rounded there to odd is rounded to float32
        as the exact one would be (Boldo and Melquiond, "Emulation of FMA and correctly rounded
        sums: proved algorithms using rounding to odd", 2008).
        """
        single, double, bits = FLOAT.vector, DOUBLE.vector, DOUBLE.bit_vector
        if fused:
            call = f"call {single} @llvm.fma.{FLOAT.suffix}"
            return self.put(f"{call}({single} {x}, {single} {y}, {single} {z})")
        x, y, z = (self.put(f"fpext {single} {v} to {double}") for v in (x, y, z))
        product = self.put(f"fmul {double} {x}, {y}")
        total = self.put(f"fadd {double} {product}, {z}")
        part = self.put(f"fsub {double} {total}, {product}")
        rest = self.put(f"fsub {double} {total}, {part}")
        rest = self.put(f"fsub {double} {product}, {rest}")
        part = self.put(f"fsub {double} {z}, {part}")
        rest = self.put(f"fadd {double} {rest}, {part}")
        inexact = self.put(f"fcmp one {double} {rest}, zeroinitializer")
        word = self.bits(DOUBLE, total)
        even = self.put(f"and {bits} {word}, {splat('i64', 1)}")
        even = self.put(f"icmp eq {bits} {even}, zeroinitializer")
        # An even total gives way to its odd neighbour on the side of what was rounded off.
        away = self.put(f"xor {bits} {word}, {self.bits(DOUBLE, rest)}")
        away = self.put(f"icmp sge {bits} {away}, zeroinitializer")
        move = self.select(bits, away, splat("i64", 1), splat("i64", -1))
        moved = self.put(f"add {bits} {word}, {move}")
        change = self.put(f"and {lanes('i1')} {inexact}, {even}")
        odd = self.real(DOUBLE, self.select(bits, change, moved, word))
        return self.put(f"fptrunc {double} {odd} to {single}")

    def text(self) -> str:
        """Return the code so far."""
        return "\n".join(self.lines)
