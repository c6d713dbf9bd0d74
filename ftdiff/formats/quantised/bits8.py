"""bitsandbytes in eight bits: a row of whole numbers shares its largest absolute value, `SCB`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.formats.quantised.described import expect, model_dtype, places
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.tensors import Array, LazyTensor, numel

OWNER = "bitsandbytes"


@dataclass(frozen=True)
class Rows:
    """Where a weight of whole numbers lies: rows × columns, and a scale for each row."""

    packed: LazyTensor
    maxima: LazyTensor
    unit: float = 1 / 127

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape."""
        return self.packed.shape

    @property
    def storage(self) -> Hashable:
        """The places of both parts."""
        return places(self.packed, self.maxima)

    def levels(self) -> Array:
        """Return −128 to 127."""
        return np.arange(-128, 128, dtype=np.float32)

    def codes(self, start: int, stop: int) -> Array:
        """Count from the lowest level."""
        with self.packed.window(start, stop) as values:
            return values.astype(np.int16) + 128

    def scales(self, start: int, stop: int) -> Array:
        """Repeat each row's scale."""
        width = max(1, numel(self.shape[1:]))
        first, last = start // width, -(-stop // width)
        ends = np.minimum(np.arange(first + 1, last + 1) * width, stop)
        rows = self.maxima.read(slice(first, last)).astype(np.float32)
        return np.repeat(rows, np.diff(ends, prepend=start))


def claims(
    tensors: Mapping[str, LazyTensor], config: Mapping[str, Any]
) -> Mapping[str, tuple[str, ...]]:
    """Return the weights that an `SCB` lies beside."""
    found = {}
    for name in tensors:
        module, _, last = name.rpartition(".")
        if last == "SCB" and f"{module}.weight" in tensors:
            found[f"{module}.weight"] = (name, f"{module}.weight_format")
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], config: Mapping[str, Any]) -> Quantised:
    """Resolve one weight.

    Raises
    ------
    BadFile
        It is not stored as bytes, or has not one scale for each row.
    """
    packed = expect(tensors, name, None, ("I8",))
    scale = f"{name.removesuffix('weight')}SCB"
    maxima = expect(tensors, scale, packed.shape[:1], ("F32", "F16"))
    return Quantised(Rows(packed, maxima), "INT8", model_dtype(config))
