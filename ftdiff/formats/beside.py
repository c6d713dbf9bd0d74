"""What lies beside the weights of a model folder: settings, templates, code and pickles.

JSON is read, bounded; code and pickles are named and never opened by what could run them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ftdiff.errors import BadFile, one_line
from ftdiff.formats import lone_file, place
from ftdiff.formats.checkpoint import read_json
from ftdiff.formats.place import Place

#: Endings of files that hold code, and of those that are pickles or may be.
CODE = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
#: Files of settings in which `auto_map` may name code, in the order in which they are read.
SETTINGS = (
    *("config.json", "generation_config.json", "tokenizer_config.json"),
    *("preprocessor_config.json", "processor_config.json", "adapter_config.json"),
)
#: What makes a file's folder that of one model.
_MARKS = ("config.json", "adapter_config.json")
#: The largest file of settings and the largest template that are read, in bytes.
_LARGEST, _LARGEST_TEMPLATE = 8 << 20, 4 << 20
#: Names of a folder that are looked at, and templates that are read, at most.
_MOST, _MOST_TEMPLATES = 20_000, 64


@dataclass(frozen=True)
class SideFiles:
    """What lies beside the weights of one model; empty where it is in memory.

    Attributes
    ----------
    folder
        Where it lies; None in memory.
    settings
        By file of `SETTINGS` and the tokenizer's small files, what it holds; absent files have no
        entry.
    templates
        Chat templates by name; "default" is the one that is used.
    twice
        Whether the default template stands in two files that differ.
    code, pickles
        Names of files.
    remote
        What an `auto_map` names: "AutoModel: modeling_x.X (config.json)".
    unread
        By file, why it could not be read.
    """

    folder: Place | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    twice: bool = False
    code: tuple[str, ...] = ()
    pickles: tuple[str, ...] = ()
    remote: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return what is listed, as plain values."""
        held = {"code": self.code, "pickles": self.pickles, "auto_map": self.remote}
        files = [*self.settings, *(["chat template"] if self.templates else [])]
        return {"settings": files} | {name: [*values] for name, values in held.items()}


def side_files(source: str | os.PathLike[str]) -> SideFiles:
    """Look at what lies beside the weights.

    Parameters
    ----------
    source
        A model's or an adapter's folder; of a file in one, the folder, if that has a
        configuration or no other weights: what lies in a folder of many models is none of its.
    """
    at = place.again(os.fspath(source))
    folder = None if at is None else _folder(at)
    if folder is None:
        return SideFiles()
    names = _names(folder)
    unread: dict[str, str] = {}
    small = ("special_tokens_map.json", "added_tokens.json", "chat_template.json")
    found = {name: _settings(folder / name, unread) for name in (*SETTINGS, *small)}
    settings = {name: told for name, told in found.items() if told is not None}
    templates, twice = _templates(folder, settings, unread)
    return SideFiles(
        folder=folder,
        settings=settings,
        templates=templates,
        twice=twice,
        code=tuple(name for name in names if name.lower().endswith(CODE)),
        pickles=tuple(name for name in names if _is_pickle(name, names)),
        remote=tuple(_remote(settings)),
        unread=unread,
    )


def shown(name: str) -> str:
    """Return a file's name, or a text of it, as a text that can be written again."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _folder(path: Place) -> Place | None:
    if path.is_dir():
        return path
    marked = any((path.parent / mark).is_file() for mark in _MARKS)
    return path.parent if marked or lone_file(path.parent) == path else None


def _names(folder: Place) -> list[str]:
    """Return the names of files, links to files included; never those of sub-folders."""
    endings = (*CODE, *PICKLES, ".xml")
    few = (file.name for file in islice(folder.files(), _MOST))
    return [shown(name) for name in few if name.lower().endswith(endings)]


def _is_pickle(name: str, names: list[str]) -> bool:
    stem, dot, ending = name.rpartition(".")
    return f"{dot}{ending.lower()}" in PICKLES and f"{stem}.xml" not in names  # OpenVINO's is none


def _settings(path: Place, unread: dict[str, str]) -> Mapping[str, Any] | None:
    try:
        return read_json(path, halves=True, largest=_LARGEST) if path.is_file() else None
    except BadFile as error:
        unread[path.name] = one_line(shown(str(error)), 300)
        return None


def _remote(settings: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for file, told in settings.items():
        named = told.get("auto_map")
        if not isinstance(named, Mapping):
            continue
        for what, where in islice(named.items(), _MOST_TEMPLATES):
            classes = where if isinstance(where, list) else [where]
            shortened = ", ".join(one_line(one, 200) for one in classes if isinstance(one, str))
            yield shown(f"{one_line(what, 80)}: {shortened} ({file})")


def _templates(
    folder: Place, settings: Mapping[str, Mapping[str, Any]], unread: dict[str, str]
) -> tuple[dict[str, str], bool]:
    """Return the templates, and whether two files differ on the default: a file of its own wins."""
    told = settings.get("tokenizer_config.json", {}).get("chat_template")
    found = _named(told)
    older = _named(settings.get("chat_template.json", {}).get("chat_template"))
    own: dict[str, str] = {}
    for name, path in _template_files(folder):
        text = _text(path, unread)
        own |= {} if text is None else {name: text}
    texts = [held["default"] for held in (found, older, own) if "default" in held]
    return {**found, **older, **own}, len({*texts}) > 1


def _named(told: Any) -> dict[str, str]:
    """Return templates by name, of one text or a list of records."""
    if isinstance(told, str):
        return {"default": _trimmed(told)}
    records = told[:_MOST_TEMPLATES] if isinstance(told, list) else []
    texts = [one for one in records if isinstance(one, Mapping)]
    pairs = [(one.get("name"), one.get("template")) for one in texts]
    return {n: _trimmed(t) for n, t in pairs if isinstance(n, str) and isinstance(t, str)}


def _template_files(folder: Place) -> Iterator[tuple[str, Place]]:
    yield "default", folder / "chat_template.jinja"
    more = folder / "additional_chat_templates"
    files = more.files(".jinja")[:_MOST_TEMPLATES] if more.is_dir() else []
    yield from ((shown(path.name.removesuffix(".jinja")), path) for path in files)


def _text(path: Place, unread: dict[str, str]) -> str | None:
    try:
        if not path.is_file():
            return None
        return _trimmed(path.read(_LARGEST_TEMPLATE).decode("utf-8", "replace"))
    except BadFile as error:
        unread[shown(path.name)] = one_line(shown(str(error)), 300)
        return None


def _trimmed(text: str) -> str:
    """Return a template without what Jinja drops: the last line's end, and how lines end."""
    return text.replace("\r\n", "\n").removesuffix("\n")
