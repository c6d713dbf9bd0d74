"""How names are written on a figure."""

from __future__ import annotations


def shown(name: object, most: int = 40) -> str:
    """Make a name from a file safe to draw: printable, and shortened in its middle.

    >>> shown("a" * 50)
    'aaaaaaaaaaaaaaaaaaaa…aaaaaaaaaaaaaaaaaaa'
    """
    text = "".join(letter if letter.isprintable() else "·" for letter in str(name))
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[half - most + 1 :]}"


def label_of(component: object) -> str:
    """Write a component as published.

    >>> label_of("attn.q"), label_of("mlp.down"), label_of("conv1d")
    ('attn. q', 'mlp. down', 'conv1d')
    """
    block, dot, role = shown(component).partition(".")
    return f"{block}. {role}" if dot else block


def component_of(name: object) -> str:
    """Read "attn. q", as published, as "attn.q"."""
    return str(name).replace(". ", ".")
