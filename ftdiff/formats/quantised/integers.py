"""GPTQ and AWQ: whole numbers of few bits in words of 32, with a scale and a zero for each group.

The weight is stored turned (in × out). GPTQ packs `qweight` along the inputs and names each input's
group (`g_idx`), and its first format stores zeros less one; AWQ packs along the outputs, in an
order of its own. W = scale · (q − zero).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ftdiff.errors import BadFile
from ftdiff.formats.quantised.described import expect, method, places, whole
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.tensors import Array, LazyTensor

OWNER = "GPTQ or AWQ"
_WORD = 32
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
    def many(self) -> int:
        """The numbers in a word."""
        return _WORD // self.bits

    def levels(self) -> Array:
        """Return every difference of a number and a zero."""
        most = 1 << self.bits
        return np.arange(-most, most, dtype=np.float32)

    def codes(self, start: int, stop: int) -> Array:
        """Unpack the rows of W that hold these entries, less their zeros."""
        first, last = self._rows(start, stop)
        q = self._numbers(first, last)
        groups = _groups(self)
        zeros = self._unpacked(self.zeros, first, last).astype(np.int32) + self.less
        found = q - zeros[groups] + (1 << self.bits)  # inputs × these rows
        return self._cut(found, first, start, stop)

    def scales(self, start: int, stop: int) -> Array:
        """Spread each group's scale over its inputs."""
        first, last = self._rows(start, stop)
        with self.held.window(0, len_of(self.held)) as flat:
            mine = flat.reshape(self.held.shape)[:, first:last].astype(np.float32)
        return self._cut(mine[_groups(self)], first, start, stop)

    def _rows(self, start: int, stop: int) -> tuple[int, int]:
        width = self.shape[1]
        return start // width, -(-stop // width)

    def _cut(self, turned: Array, first: int, start: int, stop: int) -> Array:
        """Return the run of entries, flat in the order of W, of inputs × rows from `first`."""
        offset = first * self.shape[1]
        return np.ascontiguousarray(turned.T).reshape(-1)[start - offset : stop - offset]

    def _numbers(self, first: int, last: int) -> Array:
        """Return q of these outputs, inputs × outputs."""
        if self.order:
            return self._unpacked(self.packed, first, last).astype(np.int32)
        with self.packed.window(0, len_of(self.packed)) as flat:
            words = flat.reshape(self.packed.shape)[:, first:last].astype(np.int64)
        shifts = np.arange(self.many) * self.bits
        parts = (words[:, None, :] >> shifts[None, :, None]) & ((1 << self.bits) - 1)
        return parts.reshape(-1, last - first)[: self.shape[1]].astype(np.int32)

    def _unpacked(self, tensor: LazyTensor, first: int, last: int) -> Array:
        """Return the numbers of these columns, of words that are packed along the columns."""
        low, high = first // self.many, -(-last // self.many)
        with tensor.window(0, len_of(tensor)) as flat:
            words = flat.reshape(tensor.shape)[:, low:high].astype(np.int64)
        order = np.argsort(self.order) if self.order else np.arange(self.many)
        parts = (words[:, :, None] >> (order * self.bits)) & ((1 << self.bits) - 1)
        offset = low * self.many
        return parts.reshape(len(words), -1)[:, first - offset : last - offset]


def len_of(tensor: LazyTensor) -> int:
    """Return the entries of a matrix."""
    return tensor.shape[0] * tensor.shape[1]


@lru_cache(maxsize=8)
def _groups(packing: Words) -> Array:
    """Return the group of each input.

    Raises
    ------
    BadFile
        `g_idx` names a group that there is no scale for.
    """
    count, inputs = packing.held.shape[0], packing.shape[1]
    if packing.groups is None:
        return np.arange(inputs) // -(-inputs // count)
    found = packing.groups.read().astype(np.int64)
    if found.size and not 0 <= found.min() <= found.max() < count:
        raise BadFile(f"g_idx names group {found.max()} of {count}")
    return found


def claims(
    tensors: Mapping[str, LazyTensor], config: Mapping[str, Any]
) -> Mapping[str, tuple[str, ...]]:
    """Return the modules that have a `qweight`, as the weight that they stand for."""
    found = {}
    for name in tensors:
        module, _, last = name.rpartition(".")
        if last == "qweight":
            parts = ("qweight", "qzeros", "scales", "g_idx")
            found[f"{module}.weight"] = tuple(f"{module}.{part}" for part in parts)
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], config: Mapping[str, Any]) -> Quantised:
    """Resolve one module; which of the two formats it is, its shapes and configuration say.

    Raises
    ------
    BadFile
        Bits, shapes or zeros contradict each other.
    """
    told, module = method(config), name.removesuffix(".weight")
    bits = whole(told.get("bits", told.get("w_bit", 4)), "bits", 2, 8)
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
    less = 0 if told.get("checkpoint_format") == "gptq_v2" else 1
    packing = Words((out, inputs), packed, zeros, held, bits, told_groups, less)
    return Quantised(packing, f"INT{bits}", held.dtype)
