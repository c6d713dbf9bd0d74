"""What every form of ΔW answers, without being multiplied out."""

from __future__ import annotations

from typing import Protocol

from ftdiff.tensors import Array


class Delta(Protocol):
    """What every form of ΔW answers; arrays are float64."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows × columns, as the base tensor's matrix view."""

    def sumsq(self) -> float:
        """Return ‖ΔW‖²_F over the entries that are finite."""

    def squares(self, axis: int) -> Array:
        """Return the squared norm of every row (axis 0) or column (axis 1), likewise."""

    def nonfinite(self) -> int:
        """Return how many entries are not finite."""

    def rows(self, start: int, stop: int) -> Array:
        """Return these rows of ΔW in float32, the same bits on any machine."""

    def inner(self, W: Array) -> float:
        """Return ⟨W, ΔW⟩ for W of the same shape."""

    def singular_values(self) -> Array:
        """Return the singular values that can differ from zero, largest first."""

    def dense(self) -> Array:
        """Return ΔW multiplied out."""
