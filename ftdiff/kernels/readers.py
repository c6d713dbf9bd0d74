"""Decode a tile of stored entries: a base's values, or the changes to them."""

from __future__ import annotations

from dataclasses import dataclass

from ftdiff.kernels.lanes import DOUBLE, FLOAT, LANES, Body, lanes, splat
from ftdiff.kernels.storage import itemsize, read

#: Entries that are decoded at a time: few enough that those of many tensors stay in a cache.
TILE = 16 * LANES
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
        "base": values, as they are, in float32. "tuned": values minus the base's, taken in float32.
        "delta": values that are changes. Changes are written in float64, zero where they are not
        finite.
    half
        The machine widens float16.
    """

    dtype: str
    role: str
    half: bool


def assembly(reader: Reader) -> str:
    """Return the module whose `read(from, base, out, lost)` decodes a tile.

    `base` holds `TILE` float32 entries, `out` as many of what is written, and `lost` sixteen counts
    of entries that were not finite.
    """
    body, lost = Body(), "%lost.at"
    _prefetch(body, itemsize(reader.dtype))
    for step in range(_UNROLLED):
        place = body.put(f"add i64 %first, {step * LANES}")
        value = read(body, reader.dtype, "%from", place, FLOAT, reader.half).value
        scalar, vector = FLOAT.scalar, FLOAT.vector
        if reader.role == "tuned":
            base = body.load(vector, "%base", scalar, place, align=64)
            value = body.put(f"fsub {vector} {value}, {base}")
        if reader.role != "base":
            value, lost = _finite(body, value, lost)
            scalar, vector = DOUBLE.scalar, DOUBLE.vector
            value = body.put(f"fpext {FLOAT.vector} {value} to {vector}")
        at = body.put(f"getelementptr {scalar}, ptr %out, i64 {place}")
        body.do(f"store {vector} {value}, ptr {at}, align 64")
    return _READ.format(
        word=lanes("i32"), body=body.text(), lost=lost, step=_UNROLLED * LANES, tile=TILE
    )


def _prefetch(body: Body, size: int) -> None:
    """Ask for the lines of a later tile: the hardware's own asking ends with a page."""
    start = body.put(f"mul i64 %first, {size}")
    for line in range(0, _UNROLLED * LANES * size, 64):
        ahead = body.put(f"add i64 {start}, {_AHEAD + line}")
        ahead = body.put(f"getelementptr i8, ptr %from, i64 {ahead}")
        body.do(f"call void @llvm.prefetch.p0(ptr {ahead}, i32 0, i32 3, i32 1)")


def _finite(body: Body, value: str, lost: str) -> tuple[str, str]:
    """Return the values, zero where they are not finite, and the counts with those."""
    word, top = lanes("i32"), splat("i32", FLOAT.exponent)
    size = body.put(f"and {word} {body.bits(FLOAT, value)}, {splat('i32', FLOAT.magnitude)}")
    good = body.put(f"icmp ult {word} {size}, {top}")
    more = body.put(f"add {word} {lost}, {splat('i32', 1)}")
    lost = body.select(word, good, lost, more)
    return body.select(FLOAT.vector, good, value, "zeroinitializer"), lost


_READ = """
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
define void @read(ptr %from, ptr %base, ptr %out, ptr %lost) {{
entry:
  %lost.0 = load {word}, ptr %lost, align 64
  br label %step
step:
  %first = phi i64 [ 0, %entry ], [ %first.next, %step ]
  %lost.at = phi {word} [ %lost.0, %entry ], [ {lost}, %step ]
{body}
  %first.next = add i64 %first, {step}
  %more = icmp ult i64 %first.next, {tile}
  br i1 %more, label %step, label %end
end:
  store {word} {lost}, ptr %lost, align 64
  ret void
}}
"""
