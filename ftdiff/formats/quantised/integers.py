"""GPTQ and AWQ: whole numbers of few bits in words of 32, with a scale and a zero for each group.

The weight is stored turned (in × out). GPTQ packs `qweight` along the inputs and names each input's
group (`g_idx`), and its first format stores zeros less one; AWQ packs along the outputs, in an
order of its own. W = scale · (q − zero).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from math import lcm

import numpy as np

from ftdiff.errors import BadFile
from ftdiff.formats.quantised.blocks import groups_of
from ftdiff.formats.quantised.codes import levels, unpacked
from ftdiff.formats.quantised.described import Told, expect, places, whole
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.formats.quantised.tile import CHUNK, Tile
from ftdiff.tensors import Array, LazyTensor, strip

OWNER = "GPTQ or AWQ"
_WORD = 32
#: About how many inputs of a weight are turned at a time.
_SIDE = int(CHUNK**0.5)
#: Which of eight outputs each nibble of AWQ's words holds, from the lowest.
_AWQ = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass(frozen=True)
class Words:
    """Where a weight of few bits lies.

    Parameters
    ----------
    shape
        out × in.
    packed, zeros, held
        `qweight`, `qzeros` and `scales`; zeros are packed along the outputs.
    bits
        2, 4 or 8.
    groups
        `g_idx`, the group of each input; None where groups are runs of inputs.
    less
        What was taken off the zeros before they were stored.
    order
        Which of a word's outputs each part holds; empty where the lowest is the first, and where
        `qweight` is packed along the inputs.
    """

    shape: tuple[int, int]
    packed: LazyTensor
    zeros: LazyTensor
    held: LazyTensor
    bits: int
    groups: LazyTensor | None = None
    less: int = 0
    order: tuple[int, ...] = ()
    unit: float = 1.0

    @property
    def storage(self) -> Hashable:
        """The places of its parts."""
        more = () if self.groups is None else (self.groups,)
        found = places(self.packed, self.zeros, self.held, *more)
        return None if found is None else (found, self.shape, self.bits, self.less, self.order)

    @property
    def width(self) -> int:
        """The inputs."""
        return self.shape[1]

    @property
    def many(self) -> int:
        """The numbers in a word."""
        return _WORD // self.bits

    @property
    def down(self) -> int:
        """The inputs in a row of words."""
        return 1 if self.order else self.many

    @property
    def group(self) -> int:
        """The inputs of a group, where they are beside each other."""
        return -(-self.shape[1] // self.held.shape[0])

    def levels(self) -> Array:
        """Return the numbers themselves."""
        return levels(f"U{self.bits}")

    def tiles(self, first: int, last: int) -> Iterator[Tile]:
        """Yield rectangles of W, of which the rows are columns of what is stored, turned."""
        count, out = self.held.shape
        words = range(first // self.many, -(-last // self.many))
        with strip(self.held, out, range(count), range(first, last)) as held:
            scales = held.T.astype(np.float32)
        with strip(self.zeros, self.zeros.shape[1], range(count), words) as stored:
            zeros = self._across(stored, first, last).astype(np.float32) + self.less
        columns, rows = words if self.order else range(first, last), range(self.packed.shape[0])
        tall, wide = self._sides()
        with strip(self.packed, self.packed.shape[1], rows, columns) as stored:
            for low in range(0, last - first, tall):
                high = min(low + tall, last - first)
                for begin in range(0, self.shape[1], wide):
                    start, stop = (at // self.down for at in (begin, begin + wide))
                    codes = self._codes(stored[start:stop], first, low, high)
                    yield self._tile(codes, scales[low:high], zeros[low:high], low, begin)

    def _sides(self) -> tuple[int, int]:
        """Return the outputs and inputs of a rectangle, which holds whole groups."""
        if self.groups is not None:
            return max(1, CHUNK // self.shape[1]), -(-self.shape[1] // self.down) * self.down
        size = lcm(self.group, self.down)
        wide = min(-(-_SIDE // size) * size, -(-self.shape[1] // size) * size)
        return max(1, CHUNK // wide), wide

    def _tile(self, codes: Array, scales: Array, zeros: Array, row: int, column: int) -> Tile:
        """Return outputs × inputs, beginning there, with what their groups share."""
        stop = min(column + codes.shape[1], self.shape[1])
        rows, columns = slice(row, row + len(codes)), slice(column, stop)
        codes = codes[:, : stop - column]
        if self.groups is not None:
            groups = groups_of(self.groups, self.held.shape[0])
            return Tile(rows, columns, codes, scales, zeros, groups=groups)
        own = slice(column // self.group, -(-stop // self.group))
        scales, zeros = scales[:, own], zeros[:, own]
        if codes.shape[1] % self.group == 0:
            codes = codes.reshape(len(codes), -1, self.group)
            return Tile(rows, columns, codes, scales[:, :, None], zeros[:, :, None])
        groups = np.arange(codes.shape[1]) // self.group  # the last is cut short
        return Tile(rows, columns, codes, scales, zeros, groups=groups)

    def _codes(self, stored: Array, first: int, low: int, high: int) -> Array:
        """Return outputs × inputs of words, of outputs `low` to `high` from the first."""
        if not self.order:
            return unpacked(stored[:, low:high].T, self.bits)
        begin = (first + low) // self.many - first // self.many
        end = -(-(first + high) // self.many) - first // self.many
        return self._across(stored[:, begin:end], first + low, first + high)

    def _across(self, stored: Array, first: int, last: int) -> Array:
        """Return outputs × rows of words that are packed along the outputs."""
        words = np.ascontiguousarray(stored.T)
        codes = np.empty((len(words), self.many, words.shape[1]), np.uint8)
        held, mask = np.empty_like(words), (1 << self.bits) - 1
        for i, place in enumerate(self.order or range(self.many)):
            np.right_shift(words, i * self.bits, out=held)
            codes[:, place] = np.bitwise_and(held, mask, out=held)
        offset = first // self.many * self.many
        return codes.reshape(-1, words.shape[1])[first - offset : last - offset]


def claims(tensors: Mapping[str, LazyTensor], told: Told) -> Mapping[str, tuple[str, ...]]:
    """Return the modules that have a `qweight`, as the weight that they stand for."""
    found = {}
    for name in tensors:
        module, _, last = name.rpartition(".")
        if last == "qweight":
            parts = ("qweight", "qzeros", "scales", "g_idx")
            found[f"{module}.weight"] = tuple(f"{module}.{part}" for part in parts)
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], told: Told) -> Quantised:
    """Resolve one module; which of the two formats it is, its shapes and configuration say.

    Raises
    ------
    BadFile
        Bits, shapes or zeros contradict each other.
    """
    given, module = told.method, name.removesuffix(".weight")
    bits = whole(given.get("bits", given.get("w_bit", 4)), "bits", 2, 8)
    if bits not in (2, 4, 8):
        raise BadFile(f"{bits} bits do not divide a word of {_WORD}")
    many = _WORD // bits
    packed = expect(tensors, f"{module}.qweight", None, ("I32",))
    held = expect(tensors, f"{module}.scales", None, ("F16", "BF16", "F32"))
    if len(packed.shape) != 2 or len(held.shape) != 2 or 0 in held.shape:
        raise BadFile(f"qweight is {list(packed.shape)} and scales are {list(held.shape)}")
    groups, out = held.shape
    awq = packed.shape[1] * many == out and packed.shape[1] != out
    inputs = packed.shape[0] * (1 if awq else many)
    if (not awq and packed.shape[1] != out) or inputs < groups:
        raise BadFile(f"qweight {list(packed.shape)} does not fit scales {list(held.shape)}")
    zeros = expect(tensors, f"{module}.qzeros", (groups, -(-out // many)), ("I32",))
    if awq:
        order = _AWQ if bits == 4 else tuple(range(many))
        packing = Words((out, inputs), packed, zeros, held, bits, order=order)
        return Quantised(packing, f"INT{bits}", held.dtype)
    told_groups = tensors.get(f"{module}.g_idx")
    if told_groups is not None:
        told_groups = expect(tensors, f"{module}.g_idx", (inputs,), ("I32", "I64"))
    less = 0 if given.get("checkpoint_format") == "gptq_v2" else 1
    packing = Words((out, inputs), packed, zeros, held, bits, told_groups, less)
    return Quantised(packing, f"INT{bits}", held.dtype)
