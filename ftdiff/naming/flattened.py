"""Names whose dots became underscores, and no base to ask: cut at what is known, never guessed at.

To add a word that has an underscore of its own: `flattened.toml`.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files

from ftdiff.naming.translation import words

# No word is made of more pieces.
_LONGEST = 4


def unflattened(name: str) -> str:
    """Return a name with its dots, as far as its words are known.

    Numbers are words. What lies between two numbers is cut where all of it is known words, in one
    way of the fewest; otherwise it may be one word or several, and stays as it is.

    Examples
    --------
    >>> unflattened("double_blocks_7_img_attn_qkv")
    'double_blocks.7.img_attn.qkv'
    >>> unflattened("strange_parts_3_some_thing")
    'strange_parts.3.some_thing'
    """
    pieces = tuple(name.split("_"))
    whole = _cut(pieces)
    if whole is not None:
        return ".".join(whole)
    found: list[str] = []
    run: list[str] = []
    for piece in (*pieces, ""):
        if piece and not piece.isdecimal():
            run.append(piece)
            continue
        if run:
            found += _cut(tuple(run)) or ["_".join(run)]
        found += [piece] if piece else []
        run = []
    return ".".join(found) if "_".join(found).replace(".", "_") == name else name


@lru_cache(maxsize=4096)
def _cut(pieces: tuple[str, ...]) -> list[str] | None:
    """Return the fewest known words that pieces make up; None if there are none, or two ways."""
    known = _known()
    best: list[list[str] | None] = [[]]
    tied = [False]
    for stop in range(1, len(pieces) + 1):
        ways = [
            [*before, word]
            for start in range(max(0, stop - _LONGEST), stop)
            if (before := best[start]) is not None
            and ((word := "_".join(pieces[start:stop])) in known or word.isdecimal())
        ]
        fewest = min(map(len, ways), default=0)
        least = [way for way in ways if len(way) == fewest]
        best.append(least[0] if least else None)
        tied.append(len(least) > 1)
    return None if tied[-1] else best[-1]


@cache
def _known() -> frozenset[str]:
    import tomllib

    text = (files("ftdiff") / "naming" / "flattened.toml").read_text("utf-8")
    return words() | {*tomllib.loads(text)["words"]}
