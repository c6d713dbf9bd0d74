"""Names for the public: folders and repositories, never where they lie on somebody's machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

# The hub's cache: the repository is in the folder's name.
_CACHED = re.compile(r"(?:models|datasets)--([\w.-]+?)--([\w.-]+)(?:/snapshots/[^/]+)?(/.*)?$")
_HUB = re.compile(r"hf://(?:models/|datasets/)?([\w.-]+/[\w.-]+)")
# A path from a root, in the middle of a sentence too: "/a/b", "~/a", "C:\a\b", "../a".
_PATH = re.compile(
    r"(?<![\w.:/\\~-])(?:~|\.\.|[A-Za-z]:(?=[\\/]))?(?:[\\/]+[^\s\\/:;,'\"()<>|]+)+[\\/]*"
)
# Files that are called so wherever they lie: their folder is their name.
_FILE = re.compile(
    r"(?:adapter_model|model|pytorch_model|pytorch_lora_weights|diffusion_pytorch_model|consolidated)"
    r"[\w.-]*\.(?:safetensors|bin|pt|pth|gguf)$"
)
# Records whose texts are names of tensors and numbers: there is no path in them.
_INNER = ("spectra", "scalings", "renamed", "structure", "parts", "counts", "shares", "versions")


def public_name(source: object) -> str:
    """Name a model for the public: of a path of this machine the last folder only.

    A file that is called as all such files are is named by its folder.

    >>> public_name("/home/me/secret/my-lora/"), public_name("../my-lora"), public_name("org/model")
    ('my-lora', 'my-lora', 'org/model')
    >>> public_name("hf://org/model"), public_name("/hf/models--org--model/snapshots/1a2b")
    ('org/model', 'org/model')
    """
    text = str(source)
    if found := _HUB.match(text):
        return found[1]
    if found := _CACHED.search(text):
        return f"{found[1]}/{found[2]}"
    if not re.match(r"[\\/~]|\.\.?[\\/]|[A-Za-z]:[\\/]", text):
        return text
    parts = re.split(r"[\\/]+", text.rstrip("\\/"))
    return parts[-2] if len(parts) > 1 and parts[-2] and _FILE.match(parts[-1]) else parts[-1]


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
