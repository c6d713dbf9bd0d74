"""‖W‖² of a base, and the spacing of its numbers, added up exactly from runs of its entries."""

from __future__ import annotations

from ftdiff import kernels
from ftdiff.deltas.moments import exact
from ftdiff.tensors import Array, LazyTensor

#: Entries of a base of which one window is lent.
WINDOW = 1 << 23


class BaseSums:
    """Sums over the runs that were added: whole `kernels.BLOCK`s, but for the last."""

    def __init__(self) -> None:
        self._squares: list[float] = []
        self._powers: list[float] = []

    def add(self, W: Array, dtype: str) -> None:
        """Add a run of entries, as stored."""
        floats, _ = kernels.sums(None, W, "", dtype)
        self._squares += floats[:, 1].tolist()
        self._powers += floats[:, 6].tolist()

    def totals(self) -> tuple[float, float]:
        """Return Σw² and Σ (2^⌊log₂|w|⌋)²."""
        return exact(self._squares)[0], exact(self._powers)[0]


def base_sums(base: LazyTensor | None, size: int) -> tuple[float, float]:
    """Read a base's first entries and return their sums; NaN without one."""
    if base is None:
        return float("nan"), float("nan")
    found = BaseSums()
    for start in range(0, size, WINDOW):
        with base.window(start, min(start + WINDOW, size)) as W:
            found.add(W, base.dtype)
    return found.totals()
