"""The base that a fine-tune names: in its configuration, its file's header, or its model card."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ftdiff.adapters import header, single_file
from ftdiff.adapters.identity import identify
from ftdiff.errors import BadCall, BadFile, require
from ftdiff.formats import no_weights
from ftdiff.formats.checkpoint import read_json
from ftdiff.formats.place import Place, find, here, is_repository

_CARD = "README.md"
_LARGEST_CARD = 4 << 20
_FRONT = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*\r?\n", re.DOTALL)
#: Of longer front matter, whose tables of results take YAML's reader seconds, the base alone is
#: read: its key, and the lines of a list below it.
_LONG = 16 << 10
_BASE = re.compile(r"^base_model[ \t]*:.{0,1000}(?:\n[ \t]*-[ \t].{0,1000}){0,64}", re.MULTILINE)
#: What trainers of single files write of the model that they trained.
_TOLD = ("ss_sd_model_name", "modelspec.base_model", "base_model", "ss_base_model_version")


@dataclass(frozen=True)
class NamedBase:
    """A base that was found.

    Attributes
    ----------
    place
        Where it is.
    origin
        Which file names it.
    """

    place: Place
    origin: str

    def __str__(self) -> str:
        return f"base: {self.place}, as {self.origin} names it"


def named_base(source: str | os.PathLike[str]) -> NamedBase:
    """Find the base that a fine-tune names: beside it, in this folder, or on the hub.

    The hub's cache comes before the hub.

    Raises
    ------
    BadCall
        It names none, or one that is nowhere to be found.
    BadFile
        There is no such fine-tune, or it names no base and has no weights, as a saved result.
    """
    place = find(source)
    told = next(_names(place.home, place), None)
    if told is None:
        if identify(place).adapter is None and (why := no_weights(place)):
            raise BadFile(why)
        looked = f"{header.CONFIG}, {_CARD} and the file's header name no base"
        raise BadCall(f"{place}: {looked}; give it: ftdiff compare BASE {source}")
    name, revision, origin = told
    for found in _candidates(place.home, name, revision):
        if str(found) != str(place.home):
            return NamedBase(found, origin)
    raise BadCall(
        f"{place}: {origin} names {name!r} as its base, which is no folder here and no repository; "
        f"give it: ftdiff compare BASE {source}"
    )


def base_of(source: str | os.PathLike[str]) -> str:
    """Return the base that a fine-tune names, as `compare` takes it.

    Raises
    ------
    BadCall, BadFile
        It names none, or one that is nowhere to be found; there is no such fine-tune.
    """
    return str(named_base(source).place)


def _names(home: Place, place: Place) -> Iterator[tuple[str, str, str]]:
    """Yield the names that are told, the revision of each, and who tells."""
    if (home / header.CONFIG).is_file():
        config = read_json(home / header.CONFIG)
        name, revision = config.get("base_model_name_or_path"), config.get("revision")
        if isinstance(name, str) and name:
            yield name, revision if isinstance(revision, str) else "", header.CONFIG
    if (home / _CARD).is_file():
        name = _of_card((home / _CARD).read(_LARGEST_CARD).decode("utf-8", "replace"), home)
        if isinstance(name, str) and name:
            yield name, "", _CARD
    metadata = single_file.metadata(place)
    yield from ((metadata[key], "", f"the header ({key})") for key in _TOLD if metadata.get(key))


def _of_card(text: str, home: Place) -> Any:
    """Return the first `base_model` of a card's front matter."""
    front = _FRONT.match(text)
    if front is None or "base_model" not in front[1]:
        return None
    yaml = require("yaml", "hub", f"{home / _CARD}")
    try:
        told = yaml.safe_load(_short(front[1]))
    except (yaml.YAMLError, ValueError, TypeError, LookupError, RecursionError):
        return None  # its reader lets what Python says of numbers and dates through
    named = told.get("base_model") if isinstance(told, dict) else None
    return named[0] if isinstance(named, list) and named else named


def _short(front: str) -> str:
    if len(front) <= _LONG:
        return front
    found = _BASE.search(front)
    return found[0] if found else ""


def _candidates(home: Place, name: str, revision: str) -> Iterator[Place]:
    """Yield the places that a name may mean and that are there, the nearest first.

    Of other machines the hub alone is asked: whoever wrote the adapter may name any address.
    """
    if home.folder.is_local:
        base = os.path.dirname(os.path.join(str(home), "x"))
        near = (os.path.join(base, name), name, os.path.join(os.path.dirname(base), _last(name)))
        for path in near:
            if os.path.exists(path):
                yield here(os.path.normpath(path))
    if name.startswith("hf://") or is_repository(name):
        at = f"hf://{name}@{revision}" if revision and "://" not in name else name
        try:
            yield find(at)
        except BadFile as error:
            raise BadFile(f"{home}: its base is {name}: {error}") from error


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2] or name
