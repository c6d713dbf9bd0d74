"""One colour and one marker for each component, the same in every figure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

#: Hues of Okabe and Ito (Color Universal Design, 2008), told apart by colour-blind readers, and a
#: brown instead of their yellow, which is lost on white.
_BLUE, _SKY, _GREEN, _PURPLE = "#0072B2", "#56B4E9", "#009E73", "#CC79A7"
_ORANGE, _VERMILION, _BROWN, _BLACK = "#E69F00", "#D55E00", "#7A4A1E", "#222222"


#: How a line is broken, as matplotlib writes it.
Dashes: TypeAlias = Literal["-", "--", "-.", ":"]


@dataclass(frozen=True)
class Look:
    """How a component is drawn: a colour, a marker, and the dashes of its line."""

    colour: str
    marker: str
    dashes: Dashes = "-"


_KNOWN = {
    "attn.q": Look(_BLUE, "o"),
    "attn.k": Look(_SKY, "s"),
    "attn.v": Look(_GREEN, "^"),
    "attn.qkv": Look(_BLUE, "o"),
    "attn.o": Look(_PURPLE, "D"),
    "mlp.up": Look(_ORANGE, "v", "--"),
    "mlp.down": Look(_VERMILION, "P", "--"),
    "mlp.gate": Look(_BROWN, "X", "--"),
    "mlp.gate_up": Look(_BROWN, "X", "--"),
    "attn": Look(_BLUE, "o"),
    "mlp": Look(_VERMILION, "P", "--"),
    "norm": Look("#8a8a94", "<", ":"),
    "embed": Look(_BLACK, "*", "-."),
    "head": Look("#5c5c66", "h", "-."),
    "whole layer": Look(_BLACK, "o"),
    "whole model": Look(_BLACK, "o"),
}
_TURNS: tuple[tuple[Dashes, str], ...] = ((":", "o"), ("-.", "s"), ("--", "^"))
#: Looks of names that are not known, in turn.
SPARE = tuple(
    Look(colour, marker, dashes)
    for dashes, marker in _TURNS
    for colour in (_BLACK, _BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY, _BROWN)
)


def looks(names: Iterable[object]) -> dict[str, Look]:
    """Return a look for each name; names that are not known take the spare ones in turn.

    >>> looks(["mlp.up", "attn.q"])["attn.q"].colour
    '#0072B2'
    """
    found: dict[str, Look] = {}
    spare = 0
    for name in map(str, names):
        found[name] = _KNOWN.get(name, SPARE[spare % len(SPARE)])
        spare += name not in _KNOWN
    return found
