"""Tokens of a vocabulary as the text that they stand for, with white space to be seen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

# What stands for white space in a picture.
_SEEN = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "⇤"})
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def readable(tokens: Iterable[str]) -> list[str]:
    """Return tokens as text: byte by byte as GPT-2 spells them, or as SentencePiece does.

    How they are spelled is told by all of them: where none begins as only one of both writes a
    space, they stay as they are.

    >>> readable(["Ġthe", "cafÃ©", "Ċ"]), readable(["▁the", "<0x0A>"]), readable(["##ing"])
    (['␣the', 'café', '⏎'], ['␣the', '⏎'], ['##ing'])
    """
    names = [*tokens]
    if any("Ġ" in name or "Ċ" in name for name in names):
        names = [_from_bytes(name) for name in names]
    elif any("▁" in name for name in names):
        names = [_from_pieces(name) for name in names]
    return [name.translate(_SEEN) for name in names]


def _from_pieces(name: str) -> str:
    if found := _BYTE.fullmatch(name):
        byte = int(found[1], 16)
        return chr(byte) if byte < 0x80 else name
    return name.replace("▁", " ")


def _from_bytes(name: str) -> str:
    """Return a token's text; the token itself where its bytes are part of a letter."""
    letters = _bytes()
    if not all(letter in letters for letter in name):
        return name
    try:
        return bytes(letters[letter] for letter in name).decode("utf-8")
    except UnicodeDecodeError:
        return name


@cache
def _bytes() -> Mapping[str, int]:
    """Return the byte of each letter: printable ones are themselves, the rest follow U+0100."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(0x100) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(0x100 + n): b for n, b in enumerate(rest)}
