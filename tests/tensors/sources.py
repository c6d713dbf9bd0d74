"""A source of which every question is kept: what a read asks of a file."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ftdiff.tensors import Source


@dataclass(frozen=True)
class Asked:
    """Another source, whose bytes are copied, and every question that it was asked."""

    file: Source
    runs: list[tuple[int, int]] = field(default_factory=list, hash=False, compare=False)

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def size(self) -> int:
        return self.file.size

    @property
    def identity(self) -> Hashable:
        return self.file.identity

    @contextmanager
    def lend(self, start: int, stop: int) -> Iterator[memoryview]:
        self.runs.append((start, stop))
        with self.file.lend(start, stop) as lent:
            yield memoryview(bytes(lent))
