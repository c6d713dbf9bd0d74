"""Rounding to few bits and back, as tools do it that load a base quantised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ftdiff.formats.quantised.grids import Grid
from ftdiff.tensors import Array

#: What a scale's unit is, as a share of the largest entry that it is of.
_UNITS: Mapping[str, float] = {"INT4": 1 / 7, "INT8": 1 / 127, "F8_E4M3": 1 / 448}
#: ‖Q(W) − W‖/‖W‖ of Gaussian weights, by scheme.
FLOORS: Mapping[str, float] = {
    "NF4": 0.092, "FP4": 0.12, "INT4": 0.13, "INT8": 0.0075, "F8_E4M3": 0.026,
}  # fmt: skip
_SIDE = 128


@dataclass(frozen=True)
class Rounding:
    """A scheme, and what shares a scale.

    Attributes
    ----------
    scheme
        NF4, FP4, INT4, INT8 or F8_E4M3.
    scale
        Entries of a block ("64", "128"), a "row", a "tile" of 128 × 128, or the "tensor".
    """

    scheme: str
    scale: str

    @property
    def said(self) -> str:
        """The rounding in words.

        >>> Rounding("NF4", "64").said, Rounding("F8_E4M3", "tensor").said
        ('NF4 in blocks of 64', 'F8_E4M3 with one scale')
        """
        words = {"row": "by rows", "tile": "in tiles of 128 × 128", "tensor": "with one scale"}
        return f"{self.scheme} {words.get(self.scale, f'in blocks of {self.scale}')}"

    @property
    def floor(self) -> float:
        """‖Q(W) − W‖/‖W‖ of Gaussian weights."""
        return FLOORS[self.scheme]

    def fits(self, shape: tuple[int, int]) -> bool:
        """Say whether a matrix of this shape can be rounded so."""
        rows, columns = shape
        if self.scale.isdecimal():
            return rows * columns % int(self.scale) == 0
        return self.scale != "tile" or (rows >= _SIDE and columns >= _SIDE)

    def of(self, W: Array, top: float | None = None) -> Array:
        """Return whole rows, rounded; their entries before the first begin a block.

        Parameters
        ----------
        W
            Rows × columns, float64; of tiles, 128 × 128 entries of one.
        top
            The largest entry of the tensor, where that has one scale.
        """
        rows, columns = W.shape
        if self.scale == "row":
            blocks = W
        elif self.scale.isdecimal():
            blocks = W.reshape(-1, int(self.scale))
        else:
            blocks = W.reshape(1, -1)
        tops = np.abs(blocks).max(axis=1, keepdims=True)
        if top is not None:  # levels are of what is given, so the largest is given too
            blocks = np.append(blocks, [[top]], axis=1)
            tops = np.array([[top]])
        levels = Grid(self.scheme, 0).levels(blocks) * tops * _UNITS.get(self.scheme, 1.0)
        kept: Array = levels[:, : levels.shape[1] - (top is not None)]
        return kept.reshape(rows, columns)


#: What bases are loaded in: bitsandbytes' four and eight bits, and float8 as it is served.
ROUNDINGS = (
    Rounding("NF4", "64"), Rounding("FP4", "64"), Rounding("NF4", "128"), Rounding("INT4", "128"),
    Rounding("INT8", "row"), Rounding("F8_E4M3", "row"), Rounding("F8_E4M3", "tensor"),
    Rounding("F8_E4M3", "tile"),
)  # fmt: skip
