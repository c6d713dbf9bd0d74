"""Which tensors are looked at where not all are: drawn by a seed that the verifier picks."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ftdiff.analyses.claims.files import SIDES, Files


@dataclass(frozen=True)
class Drawn:
    """What is looked at; None stands for all.

    Attributes
    ----------
    rows
        The tensors of the diff whose sums are measured.
    hashed
        By side, the stored tensors whose digests are taken.
    """

    rows: tuple[str, ...] | None = None
    hashed: Mapping[str, Collection[str]] | None = None


def draw(files: Files, seed: int, sample: int | None, digests: int | None) -> Drawn:
    """Draw so many rows with what is stored of them, or so many stored tensors of each side."""
    if sample is not None:
        rows = tuple(first(files.changed(), seed, sample))
        return Drawn(rows, files.behind(rows))
    if digests is not None:
        return Drawn(None, {side: first(files.tensors[side], seed, digests) for side in SIDES})
    return Drawn()


def first(names: Iterable[str], seed: int, count: int) -> list[str]:
    """Return the names whose lots are least: SHA-256 of the seed, a colon and the name.

    >>> first(["a", "b", "c"], 7, 1)
    ['c']
    """

    def lot(name: str) -> bytes:
        return hashlib.sha256(f"{seed}:{name}".encode()).digest()

    return sorted(names, key=lot)[:count]
