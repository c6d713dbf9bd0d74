"""A part of a source as a file that is read and sought in, for libraries that want one."""

from __future__ import annotations

import io
from typing import Any

from ftdiff.tensors import Source

#: Bytes that are read at a time.
BUFFER = 256 << 10


class _Part(io.RawIOBase):
    def __init__(self, source: Source, start: int, stop: int) -> None:
        self._source, self._start, self._size, self._at = source, start, stop - start, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if begin + offset < 0:
            raise ValueError(f"a place before the beginning: {begin + offset}")
        self._at = begin + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        count = max(0, min(len(buffer), self._size - self._at))
        begin = self._start + self._at
        with self._source.lend(begin, begin + count) as lent:
            buffer[:count] = lent
        self._at += count
        return count


def opened(
    source: Source, start: int = 0, stop: int | None = None, window: int = BUFFER
) -> io.BufferedReader:
    """Return bytes `start` to `stop` of a source, its end by default, as a file."""
    return io.BufferedReader(_Part(source, start, source.size if stop is None else stop), window)
