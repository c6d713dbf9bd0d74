"""The orders of roundings in which tools add ΔW to W, each replayed as it stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.tensors import DTYPES, Array, precision

#: What a weight can be stored in for its merge to be replayed.
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Replay:
    """One way to merge.

    Parameters
    ----------
    stored
        The merged file's dtype.
    working
        The dtype in which W is held and the sum is kept.
    change
        ΔW is rounded to the working dtype before it is added (PEFT's safe merge does so).
    times
        How often ΔW is added; each time the sum is rounded.
    """

    stored: str
    working: str
    change: bool = False
    times: int = 1

    @property
    def said(self) -> str:
        """The replay in words."""
        rounded = f"ΔW rounded to {self.working}, then added" if self.change else "ΔW added"
        often = "" if self.times == 1 else f" {self.times} times"
        stored = "" if self.working == self.stored else f", stored as {self.stored}"
        return f"{rounded}{often} in {self.working}{stored}"

    @property
    def grain(self) -> str:
        """The coarsest dtype on the way: ΔW itself is no finer than float32."""
        return max((self.stored, self.working, "F32"), key=lambda dtype: spacing(dtype)[0])

    def expected(self, W: Array, dW: Array) -> Array:
        """Return the merged values in the stored dtype.

        Parameters
        ----------
        W, dW
            Of one shape, float32 or float64, as `held` lends them.
        """
        with np.errstate(all="ignore"):  # beyond the largest number of the dtype: an infinity
            total = _rounded(W, self.working)
            added = _rounded(dW, self.working) if self.change else dW
            for _ in range(self.times):
                total = _rounded(total + added, self.working)
            return total.astype(DTYPES[self.stored])


def replays(base: str, merged: str) -> tuple[Replay, ...]:
    """Return the ways to merge a base of one dtype into a file of another, likeliest first.

    >>> [replay.said for replay in replays("BF16", "BF16")]
    ['ΔW added in BF16', 'ΔW rounded to BF16, then added in BF16']
    >>> [replay.said for replay in replays("F32", "F32")]
    ['ΔW added in F32']
    """
    widest = max(base, merged, key=lambda dtype: DTYPES[dtype].itemsize)
    if base != merged and DTYPES[widest].itemsize < 4:
        widest = "F32"
    ways = []
    for working in dict.fromkeys((widest, merged, base)):
        ways.append(Replay(merged, working))
        if DTYPES[working].itemsize < 4:
            ways.append(Replay(merged, working, change=True))
    return tuple(ways)


def held(values: Array, *dtypes: str) -> Array:
    """Return stored values as arithmetic holds them: float32, or float64 beside an F64 side."""
    return values.astype(np.float64 if "F64" in dtypes else np.float32)


def spacing(dtype: str) -> tuple[float, int]:
    """Return a float dtype's spacing at 1.0 and least normal exponent."""
    facts = precision(dtype)
    assert facts is not None
    return facts


def ulps(error: Array, size: Array, dtype: str) -> Array:
    """Return errors in units in the last place that numbers of these sizes have in a dtype."""
    eps, least = spacing(dtype)
    exponent = np.maximum(np.frexp(size)[1] - 1, least)
    units: Array = np.abs(error).astype(np.float64) / np.ldexp(eps, exponent)
    return units


def _rounded(values: Array, dtype: str) -> Array:
    target = DTYPES[dtype]
    return values if target.itemsize >= values.dtype.itemsize else _there_and_back(values, target)


def _there_and_back(values: Array, dtype: np.dtype[np.generic]) -> Array:
    return values.astype(dtype).astype(values.dtype)
