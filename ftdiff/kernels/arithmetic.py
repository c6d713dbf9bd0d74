"""An arithmetic that is written down: called with values that note what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ftdiff.kernels.lanes import FLOAT, Body, lanes, splat


@dataclass(frozen=True, eq=False)
class Traced:
    """A value of an arithmetic that writes down what is done with it, in float32.

    Attributes
    ----------
    body, name
        Where it is written down, and what it is called there.
    low
        Whether it is a number of the stored dtype already.
    """

    body: Body
    name: str
    low: bool = False

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
        if value.low or self.stored == "F32":
            return value
        if self.stored == "F16":
            half = body.put(f"fptrunc {FLOAT.vector} {value.name} to {lanes('half')}")
            wide = body.put(f"fpext {lanes('half')} {half} to {FLOAT.vector}")
            return Traced(body, wide, low=True)
        bits = body.bits(FLOAT, value.name)
        odd = body.put(f"lshr {word} {bits}, {splat('i32', 16)}")
        odd = body.put(f"and {word} {odd}, {splat('i32', 1)}")
        more = body.put(f"add {word} {odd}, {splat('i32', 0x7FFF)}")
        bits = body.put(f"add {word} {bits}, {more}")
        bits = body.put(f"and {word} {bits}, {splat('i32', 0xFFFF0000)}")
        return Traced(body, body.real(FLOAT, bits), low=True)


def traced(
    way: Callable[[Arithmetic], Traced], stored: str, sides: Sequence[str]
) -> tuple[str, list[float]]:
    """Return what an arithmetic does with sides of these dtypes, and the numbers that it takes."""
    body = Body("t")
    named = [Traced(body, f"%s{k}", dtype == stored) for k, dtype in enumerate(sides)]
    given = Arithmetic(body, stored, named)
    last = way(given)
    return f"{body.text()}\n{last.name}", given.numbers
