"""A tensor of all files, or a sample of it, as it is handed to a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from ftdiff.analyses.merges import tensor
from ftdiff.analyses.merges.guesses import Hint
from ftdiff.analyses.merges.sides import WINDOW, sampled
from ftdiff.analyses.merges.tensor import Found
from ftdiff.analyses.pairwise import Line
from ftdiff.comparison import executors, windows
from ftdiff.comparison.executors import Work
from ftdiff.comparison.progress import Progress
from ftdiff.deltas.recipes.held import stored
from ftdiff.naming import Address
from ftdiff.tensors import DTYPES, FileTensor, Source, nbytes, numel


@dataclass(frozen=True)
class Piece:
    """A line, and how many of its entries are read; all for None."""

    line: Line
    sample: int | None

    @property
    def address(self) -> Address:
        """The tensor's place."""
        return self.line.address

    @property
    def cost(self) -> int:
        """About how many bytes are read."""
        size = numel(self.line.shape)
        entries = size if self.sample is None else min(self.sample, size)
        held = (one for one in stored(self.line) if isinstance(one, FileTensor))
        return sum(nbytes(one) * entries // max(size, 1) for one in held)

    @property
    def memory(self) -> int:
        """About how many bytes judging it holds: a window of every file but one, as float64."""
        size = numel(self.line.shape)
        entries = min(WINDOW, size if self.sample is None else min(self.sample, size))
        return 8 * len(self.line.recipes) * entries + windows.window(self.line)

    def far_spans(self) -> Iterator[tuple[Source, tuple[int, int]]]:
        """Yield which bytes of remote files are read: what else lies in them is never asked for."""
        for one in stored(self.line):
            if not isinstance(one, FileTensor) or one.source.is_local:
                continue
            size = numel(one.shape)
            whole = one.shape != self.line.shape or one.dtype not in DTYPES
            width = nbytes(one) // max(size, 1)
            for start, stop in [(0, size)] if whole else sampled(size, self.sample):
                yield one.source, (one.offset + start * width, one.offset + stop * width)


def judged(
    pieces: Sequence[Piece],
    with_base: bool,
    known: Sequence[Hint],
    executor: Executor | None,
    progress: Progress | None = None,
) -> list[Found]:
    """Judge every piece on a worker, the costliest first."""
    task: Callable[[Piece], Found] = partial(_judge, with_base=with_base, known=known)
    cost = attrgetter("cost")
    name, memory = attrgetter("address.name"), attrgetter("memory")
    work = Work("reading", task, name, cost=cost, priority=cost, memory=memory)
    outcomes = executors.run(work, [[piece] for piece in pieces], executor, progress)
    return [
        tensor.lost(piece.line, outcome) if isinstance(outcome, str) else outcome
        for piece, outcome in zip(pieces, outcomes, strict=True)
    ]


def _judge(piece: Piece, with_base: bool, known: Sequence[Hint]) -> Found:
    return tensor.judge(piece.line, with_base, piece.sample, known)
