"""What the two operands of the fused loop are, and which sums can be taken of them."""

from __future__ import annotations

from dataclasses import dataclass

from ftdiff.kernels.lanes import DOUBLE, Real
from ftdiff.kernels.storage import computed_in

#: Sums in the order of the result's columns; the maximum follows.
SUMS = ("base_sq", "tuned_sq", "delta_sq", "inner", "base_abs", "delta_abs", "power_sq")
#: Counts in the order of the result's columns.
COUNTS = ("unequal", "sign_flips", "nonfinite_base", "nonfinite_tuned")
#: A lower floor's square is nothing in float32, nor is a block of them.
_SEEN = -75


@dataclass(frozen=True)
class Operands:
    """The two operands, and what of the machine the code may use.

    Attributes
    ----------
    base, tuned
        Storage dtypes; empty for an operand that is absent.
    delta
        The second operand holds changes, not tuned values.
    floored
        The floor of the powers of two is high enough to be seen.
    half, fused
        The machine widens float16; it multiplies and adds with one rounding.
    """

    base: str
    tuned: str
    delta: bool
    floored: bool
    half: bool
    fused: bool

    @property
    def real(self) -> Real:
        """The type that the sums are computed in."""
        return computed_in(self.base, self.tuned)

    @property
    def sums(self) -> tuple[str, ...]:
        """The sums that can be taken of what is present."""
        base, tuned = bool(self.base), bool(self.tuned)
        valued = tuned and (base or not self.delta)
        present = (base, valued, self.changes, base and tuned, base, self.changes, valued)
        return tuple(name for name, there in zip(SUMS, present, strict=True) if there)

    @property
    def changes(self) -> bool:
        """Whether a change can be told, and so its maximum and whether there is one."""
        return bool(self.tuned) and (bool(self.base) or self.delta)

    def counts(self, careful: bool) -> tuple[str, ...]:
        """Return the counts that can be taken; only careful code sees what is not finite."""
        base, tuned = bool(self.base), bool(self.tuned)
        present = (self.changes, base and tuned, base and careful, tuned and careful)
        return tuple(name for name, there in zip(COUNTS, present, strict=True) if there)


def floored(base: str, tuned: str, least_exponent: int) -> bool:
    """Return whether the square of 2^least_exponent is seen in the computing type."""
    return computed_in(base, tuned) is DOUBLE or least_exponent > _SEEN
