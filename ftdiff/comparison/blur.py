"""How far rounding blurs ‖ΔW‖ where it is no null: the tuned side's grid holds the base.

A value that moved by less than half a unit in the last place did not move at all, and one that
moved by more moved by whole units. The fewer units a changed entry moved by, the worse ‖ΔW‖ is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.comparison.frame import Columns, among, floats, rows_at
from ftdiff.comparison.reasons import COARSE, with_code
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED
from ftdiff.deltas.moments import NULL

#: Under so many squared units in the last place for each changed entry, ‖ΔW‖ is off by more than
#: this share, most first: by simulation of Gaussian weights and changes, at any 16 bits. Over the
#: last it is off by less than 5 %, whatever the change's size.
BLURRED = ((0.08, 0.20), (0.20, 0.05))


@dataclass(frozen=True)
class Blur:
    """Matrices whose ‖ΔW‖ is off by more than a share of it.

    Attributes
    ----------
    rows
        Their columns.
    of
        Matrices that moved and whose base lies on the tuned side's grid.
    share
        By how much more than this.
    """

    rows: Columns
    of: int
    share: float

    @property
    def names(self) -> list[str]:
        """The matrices."""
        return [str(name) for name in self.rows["tensor"]]

    @property
    def dtype(self) -> str:
        """What the tuned side is stored in."""
        return "/".join(sorted({*self.rows["tuned_dtype"].tolist()}))

    @property
    def size(self) -> float:
        """The largest ‖ΔW‖/‖W‖ of them, as it is stored."""
        delta_sq, base_sq = (floats(self.rows[name]) for name in ("delta_sq", "base_sq"))
        return float(np.sqrt(delta_sq / base_sq).max())

    @property
    def sentence(self) -> str:
        """What is blurred by how much, and what tells that it moved."""
        same = (self.rows["base_dtype"] == self.rows["tuned_dtype"]).all()
        stored = "Both sides are" if same else "The base lies on the grid of a fine-tune that is"
        count = len(self.names)
        matrices = "matrix" if count == 1 else "matrices"
        they, their = ("it", "its") if count == 1 else ("they", "their")
        return (
            f"{stored} stored in {self.dtype}: rounding blurs ‖ΔW‖ of {count:,} of {self.of:,} "
            f"{'matrix' if self.of == 1 else 'matrices'} by more than {self.share:.0%} "
            f"({they} moved by {_upto(count)}{self.size:.2g}). That the {matrices} moved is told "
            f"by {their} changed entries, not by ‖ΔW‖."
        )


def blur(diff: Diff) -> Blur | None:
    """Return what rounding blurs most; None where it blurs nothing by more than 5 %."""
    columns = diff.columns
    matrix = [len(shape or ()) > 1 for shape in columns["shape"]]
    sums = {name: floats(columns[name]) for name in ("delta_sq", "ulp_sq", "unequal", "numel")}
    on_grid = among(columns["status"], MOVED) & np.array(matrix, bool)
    on_grid &= (floats(columns[NULL]) == 0) & (sums["unequal"] > 0) & (sums["ulp_sq"] > 0)
    if "reason" in columns:
        on_grid &= ~with_code(columns, COARSE)
    with np.errstate(all="ignore"):
        units = sums["delta_sq"] * sums["numel"] / (sums["unequal"] * sums["ulp_sq"])
    for limit, share in BLURRED:
        under = on_grid & (units < limit)
        if under.any():
            return Blur(rows_at(columns, under), int(on_grid.sum()), share)
    return None


def _upto(count: int) -> str:
    return "" if count == 1 else "up to "
