"""Decode a tile of stored entries into float32: values, changes, or what is left of a base."""

from __future__ import annotations

from dataclasses import dataclass

from ftdiff.kernels.lanes import FLOAT, LANES, Body, lanes, splat
from ftdiff.kernels.storage import itemsize, read

#: Entries that are decoded at a time, and summed in float32 before they are added to float64.
TILE = 32 * LANES
#: Bytes between what is decoded and what is asked for.
_AHEAD = 2048
_UNROLLED = 4


@dataclass(frozen=True)
class Reader:
    """How a tensor's tiles are decoded.

    Attributes
    ----------
    dtype
        What is stored.
    differs
        What is written is the stored value minus the base's.
    half
        The machine widens float16.
    """

    dtype: str
    differs: bool
    half: bool


def assembly(reader: Reader) -> str:
    """Return the module whose `read(from, base, out, top)` decodes a tile.

    `base` and `out` hold `TILE` float32 entries; `top` holds, lane by lane, the bits of the
    largest magnitude so far: NaN's are larger than infinity's, and these than any number's.
    """
    body = Body()
    _prefetch(body, itemsize(reader.dtype))
    top = "%top.at"
    for step in range(_UNROLLED):
        place = body.put(f"add i64 %first, {step * LANES}")
        value = read(body, reader.dtype, "%from", place, FLOAT, reader.half).value
        if reader.differs:
            base = body.load(FLOAT.vector, "%base", "float", place, align=64)
            value = body.put(f"fsub {FLOAT.vector} {value}, {base}")
        at = body.put(f"getelementptr float, ptr %out, i64 {place}")
        body.do(f"store {FLOAT.vector} {value}, ptr {at}, align 64")
        word = lanes("i32")
        size = body.put(f"and {word} {body.bits(FLOAT, value)}, {splat('i32', FLOAT.magnitude)}")
        top = body.put(f"call {word} @llvm.umax.v{LANES}i32({word} {top}, {word} {size})")
    return _READ.format(
        word=lanes("i32"), lanes=LANES, body=body.text(), top=top,
        step=_UNROLLED * LANES, tile=TILE,
    )  # fmt: skip


def _prefetch(body: Body, size: int) -> None:
    """Ask for the lines of a later tile: the hardware's own asking ends with a page."""
    start = body.put(f"mul i64 %first, {size}")
    for line in range(0, _UNROLLED * LANES * size, 64):
        ahead = body.put(f"add i64 {start}, {_AHEAD + line}")
        ahead = body.put(f"getelementptr i8, ptr %from, i64 {ahead}")
        body.do(f"call void @llvm.prefetch.p0(ptr {ahead}, i32 0, i32 3, i32 1)")


_READ = """
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare {word} @llvm.umax.v{lanes}i32({word}, {word})
define void @read(ptr %from, ptr %base, ptr %out, ptr %top) {{
entry:
  %top.0 = load {word}, ptr %top, align 64
  br label %step
step:
  %first = phi i64 [ 0, %entry ], [ %first.next, %step ]
  %top.at = phi {word} [ %top.0, %entry ], [ {top}, %step ]
{body}
  %first.next = add i64 %first, {step}
  %more = icmp ult i64 %first.next, {tile}
  br i1 %more, label %step, label %end
end:
  store {word} {top}, ptr %top, align 64
  ret void
}}
"""
