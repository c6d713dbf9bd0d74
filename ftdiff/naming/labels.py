"""How names are written in pictures and tables: printable, short, and never two alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

#: Letters of a name that is written whole.
MOST = 40
_SELF, _CROSS = "self ", "cross "


def shown(name: object, most: int = MOST) -> str:
    """Make a name from a file safe to draw: printable, and shortened in its middle.

    >>> shown("a" * 50)
    'aaaaaaaaaaaaaaaaaaaa…aaaaaaaaaaaaaaaaaaa'
    """
    text = "".join(letter if letter.isprintable() else "·" for letter in str(name))
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[half - most + 1 :]}"


def distinct(names: Iterable[object], most: int = MOST) -> list[str]:
    """Shorten names in their middles, so that what was different stays different.

    Where two would be written alike, the letters around the first in which they differ are kept;
    where that is no help, they are numbered.

    >>> distinct(["encoder.left.projection", "encoder.right.projection", "head"], 14)
    ['enco…r.left.p…', 'enco…r.right.…', 'head']
    """
    texts = [shown(name, 10**6) for name in names]
    found = [shown(text, most) for text in texts]
    for _, alike in _alike(texts, found):
        for i in alike:
            found[i] = _around(texts[i], [texts[j] for j in alike if texts[j] != texts[i]], most)
    for text, alike in _alike(texts, found):
        whole = [*dict.fromkeys(texts[i] for i in alike)]
        for i in alike:
            end = f"~{whole.index(texts[i]) + 1}"
            found[i] = f"{text[: most - len(end)]}{end}"
    return found


def label_of(component: object) -> str:
    """Write a component as published.

    >>> label_of("attn.q"), label_of("mlp.down"), label_of("conv1d"), label_of("0.5")
    ('attn. q', 'mlp. down', 'conv1d', '0.5')
    """
    block, dot, role = shown(component).partition(".")
    return f"{block}. {role}" if dot and not block.isdecimal() else f"{block}{dot}{role}"


def column_labels(components: Sequence[object], every: Iterable[object] = ()) -> list[str]:
    """Write components by their role, no two alike: beside cross-attention, attention is "self".

    Parameters
    ----------
    components
        The columns.
    every
        The columns of all maps of the figure, where there are more.

    >>> column_labels(["attn.q", "attn.cross_q", "mlp.up"])
    ['self q', 'cross q', 'mlp. up']
    >>> column_labels(["attn.q"], ["attn.cross_k"]), column_labels(["attn.q"])
    (['self q'], ['attn. q'])
    """
    crossing = any(str(name).startswith("attn.cross_") for name in (*components, *every))
    texts = []
    for name in map(str, components):
        if crossing and name.startswith("attn.cross_"):
            name = _CROSS + name.removeprefix("attn.cross_")
        elif crossing and name.startswith("attn.") and not name.startswith("attn.txt_"):
            name = _SELF + name.removeprefix("attn.")
        else:
            name = label_of(shown(name, 10**6)) if len(name) <= MOST else name
        texts.append(name)
    return distinct(texts)


def component_of(name: object) -> str:
    """Read a column as it is written, "attn. q" or "cross q", as a component.

    >>> component_of("attn. q"), component_of("cross q"), component_of("self q")
    ('attn.q', 'attn.cross_q', 'attn.q')
    """
    text = str(name)
    if text.startswith(_CROSS):
        return f"attn.cross_{text.removeprefix(_CROSS)}"
    if text.startswith(_SELF):
        return f"attn.{text.removeprefix(_SELF)}"
    return text.replace(". ", ".")


def _alike(texts: Sequence[str], found: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Return what different names are written as, and which they are."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, written in enumerate(found):
        groups[written].append(i)
    return [(w, at) for w, at in groups.items() if len({texts[i] for i in at}) > 1]


def _around(text: str, others: Sequence[str], most: int) -> str:
    """Keep the beginning of a name, and what is around where it differs from others."""
    first = Counter(_common(text, other) for other in others).most_common(1)[0][0]
    head = max(1, most // 3)
    room = most - head - 2
    start = max(head, min(first - room // 3, len(text) - room))
    part = text[start : start + room]
    return f"{text[:head]}…{part}{'…' if start + room < len(text) else ''}"


def _common(text: str, other: str) -> int:
    """Return how many letters two names begin with alike."""
    pairs = enumerate(zip(text, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(text), len(other)))
