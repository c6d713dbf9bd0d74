"""How each storage dtype becomes lanes of float32 or float64: exactly, subnormals and all."""

from __future__ import annotations

from dataclasses import dataclass

from ftdiff.errors import BadCall
from ftdiff.kernels.lanes import DOUBLE, FLOAT, Body, Real, lanes, splat


@dataclass(frozen=True)
class Small:
    """A float narrower than 32 bits: its fields, and which bits are not numbers."""

    bits: int
    mantissa: int
    bias: int
    specials: str  # ieee: highest exponent; fn: all ones; fnuz: the negative zero


@dataclass(frozen=True)
class Integer:
    """An integer, or a boolean (one byte, true where it is not zero)."""

    bits: int
    signed: bool = False
    boolean: bool = False


SMALL = {
    "F16": Small(16, 10, 15, "ieee"),
    "F8_E5M2": Small(8, 2, 15, "ieee"),
    "F8_E4M3": Small(8, 3, 7, "fn"),
    "F8_E5M2FNUZ": Small(8, 2, 16, "fnuz"),
    "F8_E4M3FNUZ": Small(8, 3, 8, "fnuz"),
}
INTEGER = {
    "BOOL": Integer(8, boolean=True),
    **{f"U{bits}": Integer(bits) for bits in (8, 16, 32, 64)},
    **{f"I{bits}": Integer(bits, signed=True) for bits in (8, 16, 32, 64)},
}
WIDE = {"F64", "I32", "U32", "I64", "U64"}
#: The least exponent of a normal number; integers are spaced by ones.
LEAST_EXPONENT = {
    **dict.fromkeys(INTEGER, 0),
    **{code: 1 - small.bias for code, small in SMALL.items()},
    "F8_E8M0": -127,
    "BF16": -126,
    "F32": -126,
    "F64": -1022,
}
_BYTES = {"BF16": 2, "F32": 4, "F64": 8, "F8_E8M0": 1}


def itemsize(dtype: str) -> int:
    """Return the bytes of one stored entry.

    Raises
    ------
    BadCall
        The dtype is not one that can be measured.
    """
    for known in (SMALL, INTEGER):
        if dtype in known:
            return known[dtype].bits // 8
    if dtype in _BYTES:
        return _BYTES[dtype]
    raise BadCall(f"dtype {dtype}: not measured; one of {', '.join(sorted(LEAST_EXPONENT))}")


def computed_in(*dtypes: str) -> Real:
    """Return the type that holds all values of these dtypes closely enough."""
    return DOUBLE if WIDE & set(dtypes) else FLOAT


@dataclass(frozen=True)
class Lanes:
    """What a step has of one operand: its values and, of a 64-bit integer, its two halves."""

    value: str
    high: str = ""
    low: str = ""


def read(body: Body, dtype: str, pointer: str, index: str, real: Real, half: bool) -> Lanes:
    """Load `LANES` entries from the `index`-th on, as lanes of `real`."""
    stored = _stored(dtype)
    raw = body.load(lanes(stored), pointer, stored, index)
    if dtype == "F64" or (dtype == "F32" and real is FLOAT):
        return Lanes(raw)
    if dtype in INTEGER:
        return _integer(body, INTEGER[dtype], raw, real)
    single = raw if dtype == "F32" else _single(body, dtype, raw, half)
    if real is FLOAT:
        return Lanes(single)
    return Lanes(body.put(f"fpext {FLOAT.vector} {single} to {DOUBLE.vector}"))


def read_bf16_pairs(body: Body, pointer: str, index: str, real: Real) -> list[Lanes]:
    """Load twice `LANES` bfloat16 entries, those at even places and those at odd ones.

    A 32-bit word holds two of them, and each half is one mask or shift away from a float32.
    """
    first = body.put(f"getelementptr i16, ptr {pointer}, i64 {index}")
    words = body.put(f"load {lanes('i32')}, ptr {first}, align 1")
    even = body.put(f"shl {lanes('i32')} {words}, {splat('i32', 16)}")
    odd = body.put(f"and {lanes('i32')} {words}, {splat('i32', 0xFFFF0000)}")
    values = [body.real(FLOAT, half) for half in (even, odd)]
    if real is DOUBLE:
        values = [body.put(f"fpext {FLOAT.vector} {v} to {DOUBLE.vector}") for v in values]
    return [Lanes(value) for value in values]


def _stored(dtype: str) -> str:
    return {"F32": "float", "F64": "double"}.get(dtype, f"i{8 * itemsize(dtype)}")


def _single(body: Body, dtype: str, raw: str, half: bool) -> str:
    kind, word = lanes(_stored(dtype)), lanes("i32")
    if half and dtype in ("F16", "F8_E5M2"):
        if dtype == "F8_E5M2":  # a half without its low byte
            wide = body.put(f"zext {kind} {raw} to {lanes('i16')}")
            raw = body.put(f"shl {lanes('i16')} {wide}, {splat('i16', 8)}")
        narrow = body.put(f"bitcast {lanes('i16')} {raw} to {lanes('half')}")
        return body.put(f"fpext {lanes('half')} {narrow} to {FLOAT.vector}")
    wide = body.put(f"zext {kind} {raw} to {word}")
    if dtype == "BF16":
        return body.real(FLOAT, body.put(f"shl {word} {wide}, {splat('i32', 16)}"))
    if dtype == "F8_E8M0":
        return _power_of_two(body, wide)
    return _widened(body, SMALL[dtype], wide)


def _power_of_two(body: Body, wide: str) -> str:
    """Decode E8M0: 2^(x - 127), and 255 is not a number."""
    word = lanes("i32")
    shifted = body.put(f"shl {word} {wide}, {splat('i32', 23)}")
    least = body.put(f"icmp eq {word} {wide}, zeroinitializer")
    bits = body.select(word, least, splat("i32", 1 << 22), shifted)
    special = body.put(f"icmp eq {word} {wide}, {splat('i32', 255)}")
    return body.real(FLOAT, body.select(word, special, splat("i32", 0x7FC00000), bits))


def _widened(body: Body, small: Small, wide: str) -> str:
    """Decode a small float with integers and one exact subtraction (for its subnormals)."""
    word, sign = lanes("i32"), 1 << (small.bits - 1)
    magnitude = body.put(f"and {word} {wide}, {splat('i32', sign - 1)}")
    placed = body.put(f"shl {word} {magnitude}, {splat('i32', 23 - small.mantissa)}")
    normal = body.put(f"add {word} {placed}, {splat('i32', (127 - small.bias) << 23)}")
    # An exponent of zero has no leading one: take the next exponent's and subtract its one again.
    above = body.real(FLOAT, body.put(f"add {word} {normal}, {splat('i32', 1 << 23)}"))
    least = splat("float", f"{2.0 ** (1 - small.bias):.20e}")
    rest = body.put(f"fsub {FLOAT.vector} {above}, {least}")
    tiny = body.put(f"icmp ult {word} {placed}, {splat('i32', 1 << 23)}")
    value = body.select(word, tiny, body.bits(FLOAT, rest), normal)
    value = _special(body, small, wide, magnitude, placed, value)
    signed = body.put(f"and {word} {wide}, {splat('i32', sign)}")
    signed = body.put(f"shl {word} {signed}, {splat('i32', 32 - small.bits)}")
    return body.real(FLOAT, body.put(f"or {word} {value}, {signed}"))


def _special(body: Body, small: Small, wide: str, magnitude: str, placed: str, value: str) -> str:
    word, sign = lanes("i32"), 1 << (small.bits - 1)
    if small.specials == "ieee":
        top = (sign - 1) >> small.mantissa << small.mantissa
        special = body.put(f"icmp uge {word} {magnitude}, {splat('i32', top)}")
        infinite = body.put(f"or {word} {placed}, {splat('i32', FLOAT.exponent)}")
        return body.select(word, special, infinite, value)
    only, place = (sign - 1, magnitude) if small.specials == "fn" else (sign, wide)
    special = body.put(f"icmp eq {word} {place}, {splat('i32', only)}")
    return body.select(word, special, splat("i32", 0x7FC00000), value)


def _integer(body: Body, integer: Integer, raw: str, real: Real) -> Lanes:
    kind = lanes(f"i{integer.bits}")
    if integer.boolean:
        true = body.put(f"icmp ne {kind} {raw}, zeroinitializer")
        return Lanes(body.put(f"uitofp {lanes('i1')} {true} to {real.vector}"))
    convert = "sitofp" if integer.signed else "uitofp"
    if integer.bits < 64:
        if integer.bits < 32:
            extend = "sext" if integer.signed else "zext"
            raw = body.put(f"{extend} {kind} {raw} to {lanes('i32')}")
            kind, convert = lanes("i32"), "sitofp"
        return Lanes(body.put(f"{convert} {kind} {raw} to {real.vector}"))
    shift = "ashr" if integer.signed else "lshr"
    high = body.put(f"{shift} {kind} {raw}, {splat('i64', 32)}")
    low = body.put(f"and {kind} {raw}, {splat('i64', 0xFFFFFFFF)}")
    halves = [body.put(f"sitofp {kind} {half} to {real.vector}") for half in (high, low)]
    scaled = body.put(f"fmul {real.vector} {halves[0]}, {splat(real.scalar, f'{2.0**32:.1f}')}")
    return Lanes(body.put(f"fadd {real.vector} {scaled}, {halves[1]}"), halves[0], halves[1])
