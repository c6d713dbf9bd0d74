"""What a file holds, by a sample: the same for a copy on another machine and in a later run.

Where a file lies, when it was written and on which device says nothing of its bytes elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from ftdiff.tensors.source import Source

#: Pages of a file that are sampled from end to end of it, and the bytes of one.
PAGES, PAGE = 64, 4096
#: Bytes at the beginning, where headers are, and at the end, where zip archives have theirs.
HEAD, TAIL = 1 << 20, 64 << 10


def content(source: Source) -> str:
    """Return what tells a source's bytes from others, wherever they lie.

    Of a remote file it is the hash that the hub has taken, or its address with what the server
    calls its version, where it tells one. Of any other it is a digest of its size, its first MiB,
    its last 64 KiB and 64 pages of 4 KiB spread from end to end.

    The sample misses what lies between the pages: a file of the same size in which a few rows, or
    the rest of a header longer than a MiB, are others has the same content. A fine-tune of all
    weights differs from its base in every page. Whoever has to know that a file was not touched on
    one machine looks at the time of its last change as well.

    Raises
    ------
    BadFile
        The bytes cannot be read, or are others than when it was opened.
    """
    known = getattr(source, "content", "")
    if known:
        return str(known)
    version = getattr(source, "version", None)
    if version is not None:
        hashed = version.startswith(("sha256:", "git:"))
        return version if hashed else f"{source.name} {source.size} {version}"

    def read(start: int, stop: int) -> bytes:
        with source.lend(start, stop) as lent:
            return bytes(lent)

    return sample(source.size, read)


def sample(size: int, read: Callable[[int, int], bytes | memoryview]) -> str:
    """Return the digest of a file of that size, of which `read` returns a run of bytes."""
    digest = hashlib.sha256(str(size).encode())
    for start, stop in sampled(size):
        digest.update(read(start, stop))
    return f"sample:{digest.hexdigest()}"


def sampled(size: int) -> Iterator[tuple[int, int]]:
    """Yield which bytes of a file are looked at, in order.

    >>> list(sampled(10))
    [(0, 10)]
    """
    head = min(HEAD, size)
    tail = max(head, size - TAIL)
    yield 0, head
    yield from ((at, at + PAGE) for at in pages(size) if head <= at and at + PAGE <= tail)
    if tail < size:
        yield tail, size


def pages(size: int) -> Sequence[int]:
    """Return where pages begin that are spread evenly over a file; of a short one, all.

    >>> list(pages(10_000))
    [0, 4096, 8192]
    """
    if size <= PAGES * PAGE:
        return range(0, size, PAGE)
    return [i * (size - PAGE) // (PAGES - 1) for i in range(PAGES)]
