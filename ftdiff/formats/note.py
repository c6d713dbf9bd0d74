"""`Note`: what is odd but readable, in words for people and as a code with its data for rules."""

from __future__ import annotations

from typing import Any


class Note(str):
    """A sentence about a checkpoint, an adapter or a tensor, and the code that tells what it says.

    It is its sentence. A rule reads the code and the data, never the sentence.

    Attributes
    ----------
    code
        A short word, "target-missing".
    data
        What the sentence is filled with, as values that JSON can hold.

    Examples
    --------
    >>> note = Note("rank-differs", "factors of rank 4 where r is 8", rank=4, told=8)
    >>> note, note.record()
    ('factors of rank 4 where r is 8', {'code': 'rank-differs', 'rank': 4, 'told': 8})
    """

    code: str
    data: dict[str, Any]

    def __new__(cls, code: str, text: str, **data: Any) -> Note:
        """Make a note of a code, its sentence and its data."""
        note = super().__new__(cls, text)
        note.code, note.data = code, data
        return note

    def __getnewargs_ex__(self) -> tuple[tuple[str, str], dict[str, Any]]:
        """Say how it is made again in another process."""
        return (self.code, str(self)), self.data

    def record(self) -> dict[str, Any]:
        """Return the code and the data as plain values."""
        return {"code": self.code, **self.data}
