"""Names for the public: folders and repositories, never where they lie on somebody's machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ftdiff.comparison.model_names import public_name

# A path from a root, in the middle of a sentence too: "/a/b", "~/a", "C:\a\b", "../a".
_PATH = re.compile(
    r"(?<![\w.:/\\~-])(?:~|\.\.|[A-Za-z]:(?=[\\/]))?(?:[\\/]+[^\s\\/:;,'\"()<>|]+)+[\\/]*"
)
# Records whose texts are names of tensors and numbers: there is no path in them.
_INNER = ("spectra", "scalings", "renamed", "structure", "parts", "counts", "shares", "versions")


def published(
    about: Mapping[str, Any], base: str | None = None, tuned: str | None = None
) -> dict[str, Any]:
    """Return what a result was made from, with names for the public.

    Parameters
    ----------
    about
        As in `Diff.about`.
    base, tuned
        What the two sides are to be called, instead of the names of their folders.

    Examples
    --------
    >>> published({"base": "/a/b/model", "notes": ["/a/b/model is odd"]}, base="org/model")
    {'base': 'org/model', 'notes': ['org/model is odd']}
    """
    names = _names(about, base, tuned)
    return {key: value if key in _INNER else _renamed(value, names) for key, value in about.items()}


def renaming(
    about: Mapping[str, Any], base: str | None = None, tuned: str | None = None
) -> Callable[[str], str]:
    """Return what puts names for the public into a text on a result; arguments as of `published`.

    >>> renaming({"tuned": "/a/b/one"}, tuned="org/one")("/a/b/one moved, and /a/b/two")
    'org/one moved, and two'
    """
    return partial(_text, names=_names(about, base, tuned))


def _names(about: Mapping[str, Any], base: str | None, tuned: str | None) -> dict[str, str]:
    given = {"base": base, "tuned": tuned}
    return {
        str(about[side]): name or public_name(about[side])
        for side, name in given.items()
        if about.get(side)
    }


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _text(value, names)
    if isinstance(value, Mapping):
        return {key: _renamed(held, names) for key, held in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_renamed(held, names) for held in value)
    return value


def _text(text: str, names: Mapping[str, str]) -> str:
    for source, name in names.items():
        text = text.replace(source, name)
    if text in names.values():
        return text
    return _PATH.sub(lambda found: re.split(r"[\\/]+", found[0].rstrip("\\/"))[-1], text)
