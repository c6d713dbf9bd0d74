"""Decode a tile of stored entries: a base's values, or the changes to them."""

from __future__ import annotations

from dataclasses import dataclass

from ftdiff.kernels.lanes import DOUBLE, FLOAT, LANES, Body, lanes, splat
from ftdiff.kernels.storage import itemsize, read

#: Entries that are decoded at a time: few enough that those of many tensors stay in a cache.
TILE = 16 * LANES
#: Entries of a tile that is kept in float32: as many bytes.
LONG = 2 * TILE
#: Bytes between what is decoded and what is asked for.
_AHEAD = 2048
_UNROLLED = 4


@dataclass(frozen=True)
class Reader:
    """How a tensor's tiles are decoded.

    Attributes
    ----------
    dtype
        What is stored: what float32 holds.
    role
        "base": values, as they are, in float32. "value": values of float32, in float64. "row":
        values in float32, of as many as a tile of float32 has. "tuned": values minus the base's,
        taken in float32. "delta": values that are changes. Changes are written in float64, zero
        where they are not finite.
    half, fused
        The machine widens float16; it multiplies and adds in one instruction.
    """

    dtype: str
    role: str
    half: bool
    fused: bool


def assembly(reader: Reader) -> str:
    """Return the module whose `read(from, base, out, lost)` decodes a tile.

    `base` holds `TILE` float32 entries, `out` as many of what is written, and `lost` sixteen counts
    of entries that were not finite. What is not finite is looked for once a tile: only then are
    its entries looked at one by one.
    """
    if reader.role == "row":
        return _row(reader)
    if reader.role == "value":
        return _VALUES.format(step=_UNROLLED * LANES, tile=TILE, **_widened("%from", align=4))
    changes = reader.role != "base"
    body, check = Body("v"), "%check.at"
    _prefetch(body, itemsize(reader.dtype))
    for place, value in _values(body, reader):
        if changes:
            check = _checked(body, value, check, reader.fused)
        _store(body, FLOAT.vector, FLOAT.scalar, value, "%single" if changes else "%out", place)
    return _READ.format(
        vector=FLOAT.vector, lanes=LANES, body=body.text(), check=check, step=_UNROLLED * LANES,
        tile=TILE,
        widened=_WIDENED.format(
            vector=FLOAT.vector, lanes=LANES, check=check, word=lanes("i32"), tile=TILE,
            step=_UNROLLED * LANES, **_careful(), **_widened("%single", align=32),
        ) if changes else "done:",
    )  # fmt: skip


def _row(reader: Reader) -> str:
    """Write the decoding of a longer tile, in which nothing is looked for."""
    body = Body()
    for step in range(_UNROLLED):
        place = body.put(f"add i64 %q, {step * LANES}")
        value = read(body, reader.dtype, "%from", place, FLOAT, reader.half).value
        _store(body, FLOAT.vector, FLOAT.scalar, value, "%out", place)
    return _VALUES.format(step=_UNROLLED * LANES, tile=LONG, widened=body.text())


def _values(body: Body, reader: Reader) -> list[tuple[str, str]]:
    """Write the decoding of a few steps; return each one's place and values."""
    found = []
    for step in range(_UNROLLED):
        place = body.put(f"add i64 %first, {step * LANES}")
        value = read(body, reader.dtype, "%from", place, FLOAT, reader.half).value
        if reader.role == "tuned":
            base = body.load(FLOAT.vector, "%base", "float", place, align=64)
            value = body.put(f"fsub {FLOAT.vector} {value}, {base}")
        found.append((place, value))
    return found


def _prefetch(body: Body, size: int) -> None:
    """Ask for the lines of a later tile: the hardware's own asking ends with a page."""
    start = body.put(f"mul i64 %first, {size}")
    for line in range(0, _UNROLLED * LANES * size, 64):
        ahead = body.put(f"add i64 {start}, {_AHEAD + line}")
        ahead = body.put(f"getelementptr i8, ptr %from, i64 {ahead}")
        body.do(f"call void @llvm.prefetch.p0(ptr {ahead}, i32 0, i32 3, i32 1)")


def _checked(body: Body, value: str, check: str, fused: bool) -> str:
    """Add nothing: zero times what is finite, and NaN for what is not."""
    vector = FLOAT.vector
    if fused:
        call = f"call {vector} @llvm.fma.{FLOAT.suffix}"
        return body.put(f"{call}({vector} {value}, {vector} zeroinitializer, {vector} {check})")
    nothing = body.put(f"fmul {vector} {value}, zeroinitializer")
    return body.put(f"fadd {vector} {check}, {nothing}")


def _store(body: Body, vector: str, scalar: str, value: str, to: str, place: str) -> None:
    at = body.put(f"getelementptr {scalar}, ptr {to}, i64 {place}")
    body.do(f"store {vector} {value}, ptr {at}, align 32")


def _careful() -> dict[str, str]:
    """Write zeros for what is not finite, and count it."""
    body, word = Body("c"), lanes("i32")
    value = body.load(FLOAT.vector, "%single", "float", "%k", align=64)
    size = body.put(f"and {word} {body.bits(FLOAT, value)}, {splat('i32', FLOAT.magnitude)}")
    good = body.put(f"icmp ult {word} {size}, {splat('i32', FLOAT.exponent)}")
    more = body.put(f"add {word} %lost.at, {splat('i32', 1)}")
    lost = body.select(word, good, "%lost.at", more)
    finite = body.select(FLOAT.vector, good, value, "zeroinitializer")
    _store(body, FLOAT.vector, FLOAT.scalar, finite, "%single", "%k")
    return {"careful": body.text(), "more": lost}


def _widened(source: str, align: int) -> dict[str, str]:
    """Write float32 as float64, half a vector at a time, as machines widen what they load."""
    body, half = Body("w"), LANES // 2
    for part in range(2 * _UNROLLED):
        place = body.put(f"add i64 %q, {part * half}")
        value = body.load(f"<{half} x float>", source, "float", place, align=align)
        wide = body.put(f"fpext <{half} x float> {value} to <{half} x double>")
        _store(body, f"<{half} x double>", DOUBLE.scalar, wide, "%out", place)
    return {"widened": body.text()}


_READ = """
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})
define void @read(ptr %from, ptr %base, ptr %out, ptr %lost) {{
entry:
  %single = alloca [{tile} x float], align 64
  br label %step
step:
  %first = phi i64 [ 0, %entry ], [ %first.next, %step ]
  %check.at = phi {vector} [ zeroinitializer, %entry ], [ {check}, %step ]
{body}
  %first.next = add i64 %first, {step}
  %more = icmp ult i64 %first.next, {tile}
  br i1 %more, label %step, label %done
{widened}
  ret void
}}
"""

_WIDENED = """
done:
  %bad = fcmp uno {vector} {check}, {check}
  %mask = bitcast <{lanes} x i1> %bad to i{lanes}
  %any = icmp ne i{lanes} %mask, 0
  br i1 %any, label %look, label %widen
look:
  %lost.0 = load {word}, ptr %lost, align 64
  br label %careful
careful:
  %k = phi i64 [ 0, %look ], [ %k.next, %careful ]
  %lost.at = phi {word} [ %lost.0, %look ], [ {more}, %careful ]
{careful}
  %k.next = add i64 %k, {lanes}
  %k.more = icmp ult i64 %k.next, {tile}
  br i1 %k.more, label %careful, label %looked
looked:
  store {word} {more}, ptr %lost, align 64
  br label %widen
widen:
  %q = phi i64 [ 0, %done ], [ 0, %looked ], [ %q.next, %widen ]
{widened}
  %q.next = add i64 %q, {step}
  %q.more = icmp ult i64 %q.next, {tile}
  br i1 %q.more, label %widen, label %end
end:
"""

_VALUES = """
define void @read(ptr %from, ptr %base, ptr %out, ptr %lost) {{
entry:
  br label %widen
widen:
  %q = phi i64 [ 0, %entry ], [ %q.next, %widen ]
{widened}
  %q.next = add i64 %q, {step}
  %q.more = icmp ult i64 %q.next, {tile}
  br i1 %q.more, label %widen, label %end
end:
  ret void
}}
"""
