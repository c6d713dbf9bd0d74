"""One tensor of base and merged: what its change is, and the factors of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ftdiff.metrics.linalg import tail as ranks
from ftdiff.metrics.linalg.factors import error, fitted
from ftdiff.metrics.linalg.stored_change import LARGE, Rounded, rounded
from ftdiff.metrics.linalg.tail import Tail
from ftdiff.naming import Address
from ftdiff.tensors import Array, LazyTensor, is_quantised, nbytes, numel

#: What became of a tensor: the same values; less moved than rounding moves; not much more than
#: that; of low rank; of another; or no matrix that an adapter of this kind changes.
SAME, ROUNDED, BLURRED, LOW, FULL, APART = "same", "rounded", "blurred", "low", "full", "apart"

#: Bytes that are held of each entry where a change is held in float32, and in float64.
_SINGLE, _DOUBLE = 48, 96


@dataclass(frozen=True)
class Pair:
    """A tensor of both sides; frozen, picklable.

    Attributes
    ----------
    address
        Which it is.
    base, merged
        Both sides.
    turned
        They are stored in × out.
    apart
        Why it is not looked at as a matrix; "" where it is.
    """

    address: Address
    base: LazyTensor
    merged: LazyTensor
    turned: bool = False
    apart: str = ""

    @property
    def name(self) -> str:
        """The base's name of it."""
        return self.address.name

    @property
    def is_embedding(self) -> bool:
        """Whether its module looks rows up."""
        return self.address.component.startswith("embed.")

    @property
    def size(self) -> int:
        """The bytes that are read."""
        return nbytes(self.base) + nbytes(self.merged)

    @property
    def memory(self) -> int:
        """The bytes that are held: both sides, and what each entry was before it was rounded."""
        if self.apart:
            return nbytes(self.base) + nbytes(self.merged)
        size, single = numel(self.base.shape), "F64" not in (self.base.dtype, self.merged.dtype)
        return size * (_SINGLE if single and size > LARGE else _DOUBLE)

    def read(self) -> tuple[Array, Array]:
        """Return both as they are stored, out × in; a small W0 in float64."""
        W, M = self.base.read(), self.merged.read()
        if is_quantised(self.base) and M.dtype != W.dtype:  # as merged: in the file's dtype
            W = W.astype(M.dtype)
        if len(W.shape) > 2 and not self.apart:  # a kernel: out × all it is multiplied by
            W, M = W.reshape(len(W), -1), M.reshape(len(M), -1)
        if W.size <= LARGE or "F64" in (self.base.dtype, self.merged.dtype):
            W = W.astype(np.float64)
        return (W.T.copy(), M.T.copy()) if self.turned else (W, M)


@dataclass(frozen=True, eq=False)
class Seen:
    """What a tensor's change is.

    Attributes
    ----------
    pair
        The tensor.
    kind
        As above.
    tail
        Of a matrix that moved.
    relative
        ‖ΔW‖/‖W0‖ as stored; None where it was not looked at.
    said
        Why it is apart.
    """

    pair: Pair
    kind: str
    tail: Tail | None = None
    relative: float | None = None
    said: str = ""


@dataclass(frozen=True, eq=False)
class Part:
    """What an adapter holds of one matrix.

    Attributes
    ----------
    pair
        The tensor.
    B, A
        out × rank and rank × in, float32.
    magnitude
        DoRA's norm of each row, None for a plain LoRA.
    replay, error
        As in `factors`.
    """

    pair: Pair
    B: Array
    A: Array
    magnitude: Array | None
    replay: float
    error: float


@dataclass(frozen=True)
class Wanted:
    """A matrix, and the rank that is asked of it; with a scale of each row, or without."""

    pair: Pair
    rank: int
    scaled: bool = False

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.pair.name

    @property
    def size(self) -> int:
        """The bytes that are read."""
        return self.pair.size

    @property
    def memory(self) -> int:
        """The bytes that are held."""
        return self.pair.memory


def look(pair: Pair) -> Seen:
    """Read a tensor of both sides, and say what its change is."""
    if pair.apart:
        return Seen(pair, APART if _moved(*pair.read()) else SAME, said=pair.apart)
    W, M = pair.read()
    if not _moved(W, M):
        return Seen(pair, SAME)
    if not (_finite(W) and _finite(M)):
        return Seen(pair, APART, said="it has entries that are not finite")
    stored = rounded(W, M, pair.merged.dtype)
    tail = ranks.tail(stored)
    low = LOW if tail.low else FULL
    kind = ROUNDED if not tail.rank else BLURRED if tail.blurred else low
    norm_sq = sum(float(np.square(W[r].astype(np.float64)).sum()) for r in stored.runs())
    return Seen(pair, kind, tail, (stored.norm_sq / norm_sq) ** 0.5 if norm_sq else None)


def scaled_rank(pair: Pair) -> int | None:
    """Return the rank beside a scale of each row of the base; None where it is not low."""
    stored, W = _stored(pair)
    return ranks.scaled_rank(stored, W)


def scaled_at(wanted: Wanted) -> bool:
    """Say whether a scale of each row and factors of this rank explain a change."""
    stored, W = _stored(wanted.pair)
    return ranks.scaled_at(stored, W, min(wanted.rank, *stored.shape))


def part(wanted: Wanted) -> Part:
    """Return the factors of one matrix, singular vectors times the roots of singular values."""
    stored, W = _stored(wanted.pair)
    rank = min(wanted.rank, *stored.shape)
    found = fitted(stored, rank, W if wanted.scaled else None)
    off = error(stored, W, found)
    B, A, magnitude = found.B, found.A, None
    if found.scale is not None:
        B = B / found.scale[:, None]
        norms = np.concatenate([np.linalg.norm(W[r] + B[r] @ A, axis=1) for r in stored.runs()])
        magnitude = (found.scale * norms).astype(np.float32)
    Q, R = np.linalg.qr(B)
    U, values, V = np.linalg.svd(R @ A, full_matrices=False)
    root = np.sqrt(values)
    B, A = (Q @ U) * root, root[:, None] * V
    return Part(
        wanted.pair, B.astype(np.float32), A.astype(np.float32), magnitude, found.replay, off
    )


def _stored(pair: Pair) -> tuple[Rounded, Array]:
    W, M = pair.read()
    return rounded(W, M, pair.merged.dtype), W


def _moved(W: Array, M: Array) -> bool:
    if W.shape != M.shape:
        return True
    pairs = zip(_runs(W), _runs(M), strict=True)
    return not all(np.array_equal(one, other, equal_nan=True) for one, other in pairs)


def _finite(M: Array) -> bool:
    return all(bool(np.isfinite(run).all()) for run in _runs(M))


def _runs(M: Array) -> Iterator[Array]:
    """Yield runs of the first dimension in float64."""
    step = max(1, LARGE * max(1, len(M)) // max(1, M.size))
    for start in range(0, len(M) if M.ndim else 0, step):
        yield M[start : start + step].astype(np.float64)
    if not M.ndim:
        yield M.astype(np.float64)
