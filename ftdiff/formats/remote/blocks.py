"""Runs of bytes that are expected of a remote file, cut into blocks; each is fetched once.

A block holds expected bytes only, but for gaps too small to be worth a request. So many bytes are
kept, of blocks that were lent whole the fewest; what is asked for again later is fetched alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock

from ftdiff.tensors import bounds

#: Bytes of a block, and of a gap that is fetched along.
BLOCK, GAP = 2 << 20, 4 << 10
#: Bytes that all files together keep at most, and the share of all memory that this may be: more
#: than all windows that are read at a time.
KEPT, _PART = 96 << 20, 4


@dataclass(eq=False)
class _Block:
    start: int
    stop: int
    left: int = field(init=False)
    data: memoryview | None = None
    lock: Lock = field(default_factory=Lock, repr=False)

    def __post_init__(self) -> None:
        self.left = self.stop - self.start


#: Blocks that are held, the one that was used longest ago first.
_HELD: OrderedDict[_Block, None] = OrderedDict()
_GUARD = Lock()


class Blocks:
    """The expected bytes of one file.

    Parameters
    ----------
    spans
        Their beginnings and ends, in any order; they may meet or overlap.
    fetch
        Fetches a range.
    """

    def __init__(
        self, spans: Iterable[tuple[int, int]], fetch: Callable[[int, int], memoryview]
    ) -> None:
        self._fetch = fetch
        self._blocks = [_Block(*cut) for run in merged(spans) for cut in _cuts(*run)]
        self._starts = [block.start for block in self._blocks]

    def close(self) -> None:
        """Keep nothing any more."""
        with _GUARD:
            for block in self._blocks:
                _HELD.pop(block, None)
                block.data = None

    def lend(self, start: int, stop: int) -> memoryview | None:
        """Return a range that lies in expected bytes; None for any other."""
        at = bisect_right(self._starts, start) - 1
        parts = []
        while start < stop:
            if at < 0 or at == len(self._blocks) or not self._holds(at, start):
                return None
            block = self._blocks[at]
            end = min(stop, block.stop)
            parts.append((block, start, end))
            start, at = end, at + 1
        taken = [self._take(*part) for part in parts]
        return taken[0] if len(taken) == 1 else memoryview(b"".join(taken)).toreadonly()

    def _holds(self, at: int, start: int) -> bool:
        """Say whether a byte is in a block that is kept, or was not lent whole before."""
        block = self._blocks[at]
        return block.start <= start < block.stop and (block.left > 0 or block.data is not None)

    def _take(self, block: _Block, start: int, stop: int) -> memoryview:
        with block.lock:  # who comes second waits for the same bytes
            data = block.data
            if data is None:
                data = self._fetch(block.start, block.stop)
            block.left -= stop - start
            block.data = data
        _keep(block)
        return data[start - block.start : stop - block.start]


def merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return runs of spans that meet, overlap or nearly do.

    >>> merged([(10, 20), (20, 30), (100_000, 100_001)])
    [(10, 30), (100000, 100001)]
    """
    runs: list[list[int]] = []
    for start, stop in sorted(spans):
        if runs and start <= runs[-1][1] + GAP:
            runs[-1][1] = max(runs[-1][1], stop)
        elif stop > start:
            runs.append([start, stop])
    return [(start, stop) for start, stop in runs]


def _cuts(start: int, stop: int) -> list[tuple[int, int]]:
    return [(at, min(at + BLOCK, stop)) for at in range(start, stop, BLOCK)]


def _keep(block: _Block) -> None:
    """Keep a block; beyond the bound drop those that were lent whole, then the longest unused."""
    most = min(KEPT, bounds.held().size // _PART)
    with _GUARD:
        _HELD.pop(block, None)
        _HELD[block] = None
        while sum(one.stop - one.start for one in _HELD) > most and len(_HELD) > 1:
            out = next((one for one in _HELD if one.left <= 0), next(iter(_HELD)))
            del _HELD[out]
            out.data = None
