"""Standard output and error that outlive their reader: a closed pipe changes no verdict."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
from contextlib import suppress
from typing import Any, TextIO

from ftdiff.errors import BadFile


class _Patient(io.FileIO):
    """A file descriptor that is written to as long as anybody reads it.

    What is written after its reader has gone is dropped. What a full disk does not take is an
    error once, and dropped from then on, so that the interpreter can end.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream.fileno(), "w", closefd=False)
        self._gone = False
        self._called = "standard error" if stream is sys.stderr else "standard output"

    def write(self, data: Any) -> int:
        """Write, or drop, and return how many bytes are done with."""
        if not self._gone:
            try:
                return super().write(data) or 0
            except BrokenPipeError:
                self._gone = True
            except OSError as error:
                self._gone = True
                raise BadFile(f"{self._called}: {error.strerror or error}") from error
        return memoryview(data).nbytes


#: What a terminal of few letters shows instead of ours, where Unicode itself does not say.
_PLAIN = {
    **dict(zip("░▒▓█▁▂▃▄▅▆▇", ".:*#_.-=+*%", strict=True)),
    **{"→": "->", "–": "-", "—": "-", "·": "-", "×": "x", "‖": "||", "√": "sqrt ", "∘": "o"},
    **{"≤": "<=", "≥": ">=", "±": "+-", "−": "-", "∞": "inf", "≈": "~", "∫": "int "},
    **{"²": "^2", "ᵀ": "^T", "⟨": "<", "⟩": ">", "Δ": "d", "Σ": "sum "},
}
#: An encoding of ours: click takes a stream that calls itself ASCII for one of UTF-8.
_ASCII = "ftdiff_plain"


def _spelled(letter: str) -> str:
    """Return what stands for a letter that a stream does not have.

    >>> "".join(map(_spelled, "σ₁→"))
    'sigma1->'
    """
    if letter in _PLAIN:
        return _PLAIN[letter]
    name = unicodedata.name(letter, "").split()
    if name[:1] == ["GREEK"]:
        return name[-1].lower()
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Spell the letters at which an encoder failed."""
    assert isinstance(error, UnicodeEncodeError)
    gone = error.object[error.start : error.end]
    return "".join(map(_spelled, gone)), error.end


class _Encoder(codecs.IncrementalEncoder):
    """ASCII, in which other letters are spelled."""

    def encode(self, input: str, final: bool = False) -> bytes:
        """Return the letters as bytes."""
        return input.encode("ascii", "ftdiff.plain")


def _codec(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII:
        return None
    return codecs.CodecInfo(
        lambda text, errors="strict": (text.encode("ascii", "ftdiff.plain"), len(text)),
        codecs.ascii_decode,
        incrementalencoder=_Encoder,
        name=_ASCII,
    )


codecs.register_error("ftdiff.plain", _plain)
codecs.register(_codec)


def settle() -> None:
    """Replace both streams by patient ones, which spell what a terminal has no letters for."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError, ValueError):  # it is no file
                raw = io.BufferedWriter(_Patient(stream))
                lines = stream.line_buffering or name == "stderr"
                few = codecs.lookup(stream.encoding).name == "ascii"
                patient = io.TextIOWrapper(
                    raw,
                    _ASCII if few else stream.encoding,
                    errors="ftdiff.plain",
                    line_buffering=lines,
                )
                setattr(sys, name, patient)


def flush() -> None:
    """Write what waits.

    Raises
    ------
    BadFile
        The disk behind standard output is full, or it cannot be written.
    """
    for stream in (sys.stderr, sys.stdout):
        if stream is not None and not stream.closed:
            stream.flush()
