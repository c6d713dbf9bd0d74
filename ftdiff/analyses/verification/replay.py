"""The orders of roundings in which tools make ΔW and add it to W, each replayed as it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ftdiff.tensors import DTYPES, Array, precision

#: What a weight can be stored in for its merge to be replayed.
FLOATS = ("F64", "F32", "F16", "BF16")
#: Dtypes in which tools make products that are not float32.
_LOW = ("BF16", "F16")


@dataclass(frozen=True, order=True)
class Source:
    """Which product is read: the dtype that both factors are rounded to, and what is scaled.

    Parameters
    ----------
    factors
        A dtype; "" where they are taken as they are stored.
    scaled
        "product", "nothing", or the factor ("B", "A") that is scaled and rounded before the
        product is made.
    """

    factors: str = ""
    scaled: str = "product"


@dataclass(frozen=True)
class Formed:
    """How ΔW is made of its factors.

    Parameters
    ----------
    rounded
        The dtype that the product is rounded to; "" where float32 is kept.
    source
        What is multiplied. Where nothing was scaled in it, the rounded product is scaled, and
        rounded again.
    """

    rounded: str = ""
    source: Source = Source()

    @property
    def said(self) -> str:
        """ΔW in words."""
        factors, scaled = self.source.factors, self.source.scaled
        if not factors:
            return f"ΔW rounded to {self.rounded}, then" if self.rounded else "ΔW"
        if not self.rounded:
            return f"ΔW of factors in {factors}"
        order = {"product": "", "nothing": ", scaled last", "B": " of (s·B)·A", "A": " of B·(s·A)"}
        return f"ΔW made in {self.rounded}{order[scaled]}, then"

    def finish(self, product: Array, scaling: float, factor: float) -> Array:
        """Return ΔW of the product that was read; monotone in it.

        Parameters
        ----------
        product
            float32 or float64.
        scaling
            The adapter's, for a product that was not scaled.
        factor
            How many times ΔW is wanted.
        """
        last = self.source.scaled == "nothing"
        if not last and factor != 1:
            product = product * product.dtype.type(factor)
        if self.rounded:
            product = _rounded(product, self.rounded)
        if last:
            product = product * product.dtype.type(np.float32(scaling * factor))
            product = _rounded(product, self.rounded) if self.rounded else product
        return product


@dataclass(frozen=True)
class Replay:
    """One way to merge.

    Parameters
    ----------
    stored
        The merged file's dtype.
    working
        The dtype in which W is held and the sum is kept.
    formed
        How ΔW is made before it is added (PEFT's safe merge rounds it to the working dtype).
    times
        How often ΔW is added; each time the sum is rounded.
    order
        Of several adapters: "" one after the other, as they are given; "backwards"; "together",
        their sum added once.
    """

    stored: str
    working: str
    formed: Formed = Formed()
    times: int = 1
    order: str = ""

    @property
    def said(self) -> str:
        """The replay in words."""
        often = "" if self.times == 1 else f" {self.times} times"
        stored = "" if self.working == self.stored else f", stored as {self.stored}"
        order = {"": "", "backwards": ", the last first", "together": ", all at once"}[self.order]
        return f"{self.formed.said} added{often} in {self.working}{order}{stored}"

    @property
    def way(self) -> tuple[str, Formed, str]:
        """What two tensors have in common that were merged alike."""
        return self.working, self.formed, self.order

    @property
    def grain(self) -> str:
        """The coarsest dtype on the way: ΔW itself is no finer than float32."""
        dtypes = (self.stored, self.working, self.formed.rounded or "F32", "F32")
        return max(dtypes, key=lambda dtype: spacing(dtype)[0])

    def expected(
        self, W: Array, *products: Array, scalings: Sequence[float] = (), factor: float = 1.0
    ) -> Array:
        """Return the merged values in the stored dtype.

        Parameters
        ----------
        W
            float32 or float64, as `held` lends it.
        products
            One for each adapter, of W's shape and dtype, as `formed.source` says.
        scalings
            The adapters' own; ones where they are not given.
        factor
            How many times ΔW is added, without a rounding in between.
        """
        with np.errstate(all="ignore"):  # beyond the largest number of the dtype: an infinity
            own = scalings or (1.0,) * len(products)
            changes = [
                self.formed.finish(product, scaling, factor)
                for product, scaling in zip(products, own, strict=True)
            ]
            if self.order == "backwards":
                changes.reverse()
            if self.order == "together":
                whole = sum(changes[1:], changes[0])
                changes = [_rounded(whole, self.formed.rounded) if self.formed.rounded else whole]
            total = _rounded(W, self.working)
            for _ in range(self.times):
                for change in changes:
                    total = _rounded(total + change, self.working)
            return total.astype(DTYPES[self.stored])


def replays(base: str, merged: str) -> tuple[Replay, ...]:
    """Return the ways to add ΔW to a base of one dtype for a file of another, likeliest first.

    >>> [replay.said for replay in replays("BF16", "BF16")]
    ['ΔW added in BF16', 'ΔW rounded to BF16, then added in BF16']
    >>> [replay.said for replay in replays("F32", "F32")]
    ['ΔW added in F32']
    """
    ways = []
    for working in _working(base, merged):
        ways.append(Replay(merged, working))
        if DTYPES[working].itemsize < 4:
            ways.append(Replay(merged, working, Formed(working)))
    return tuple(ways)


def orders(
    base: str, merged: str, *, factors: bool = False, exact: Sequence[str] = (), several: bool
) -> tuple[Replay, ...]:
    """Return every way, those of `replays` first.

    Parameters
    ----------
    base, merged
        Dtypes.
    factors
        ΔW is a product of two factors.
    exact
        Dtypes that hold both factors and the scale without rounding, and a scale that is a power
        of two: there, every order of a product is the same.
    several
        ΔW is a sum over adapters.
    """
    ways = list(replays(base, merged))
    for dtype in _LOW:
        for formed in _low(dtype, factors, dtype in exact):
            ways += [Replay(merged, working, formed) for working in _working(base, merged)]
    if several:
        ways += [replace(way, order=order) for order in ("together", "backwards") for way in ways]
    return tuple(dict.fromkeys(ways))


def _working(base: str, merged: str) -> tuple[str, ...]:
    widest = max(base, merged, key=lambda dtype: DTYPES[dtype].itemsize)
    if base != merged and DTYPES[widest].itemsize < 4:
        widest = "F32"
    return tuple(dict.fromkeys((widest, merged, base)))


def _low(dtype: str, factors: bool, exact: bool) -> Iterator[Formed]:
    """Yield the ways to make ΔW in few bits."""
    yield Formed(dtype)
    if factors and not exact:
        yield Formed("", Source(dtype))
        for scaled in ("product", "nothing", "B", "A"):
            yield Formed(dtype, Source(dtype, scaled))


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
