"""How two tokenizers differ, in counts, and which ids of special tokens contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ftdiff.comparison.beside.configurations import id_fields
from ftdiff.comparison.beside.fields import Field, differing, plain
from ftdiff.errors import BadFile
from ftdiff.formats.beside import SideFiles
from ftdiff.formats.checkpoint import read_json
from ftdiff.formats.place import Place
from ftdiff.formats.tokenizers import tokens, vocabulary
from ftdiff.tensors import Source

#: The files of a vocabulary that are compared by what they hold, and those that are by their bytes.
_PARSED = ("tokenizer.json", "vocab.json")
_RAW = (
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "vocab.txt",
    "merges.txt",
)
#: Parts of tokenizer.json beside its vocabulary that decide into which tokens a text is cut.
_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_SPECIAL = (
    *("bos_token", "eos_token", "unk_token", "sep_token", "pad_token"),
    *("cls_token", "mask_token"),
)
_MORE = ("additional_special_tokens", "extra_special_tokens")
#: Settings of tokenizer_config.json that decide into which tokens a text is cut.
_CUTTING = ("add_bos_token", "add_eos_token", "add_prefix_space", "legacy", "do_lower_case")
#: Tokens that are named.
_NAMED = 5
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Tokenizer:
    """What a tokenizer's files hold.

    Attributes
    ----------
    tokens
        Token by id.
    merges
        Pairs in their order, each as one text.
    parts
        Everything else that decides into which tokens a text is cut.
    """

    tokens: Mapping[int, str] = field(default_factory=dict)
    merges: tuple[str, ...] = ()
    parts: Mapping[str, Any] = field(default_factory=dict)


def read_tokenizer(folder: Place) -> Tokenizer:
    """Read a tokenizer from its JSON; empty where the folder has none.

    Raises
    ------
    BadFile
        A file is no tokenizer's.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return Tokenizer(vocabulary(folder))
    told = read_json(path, halves=True)
    found = dict(tokens(told, path))
    model = told.get("model", {})
    rest = {name: told.get(name) for name in _PARTS}
    rest |= {f"model.{k}": v for k, v in model.items() if k not in ("vocab", "merges")}
    merges = model.get("merges")
    pairs = tuple(_merge(one) for one in merges) if isinstance(merges, list) else ()
    return Tokenizer(found, pairs, rest)


def _merge(one: Any) -> str:
    """Return a merge as one text: files spell it as such, or as a list of two."""
    return " ".join(map(str, one)) if isinstance(one, list) else str(one)


def tokenizer_data(base: Place, tuned: Place) -> dict[str, Any]:
    """Return how two folders' tokenizers differ; nothing where they are alike, or one has none.

    Raises
    ------
    BadFile
        A file is no tokenizer's.
    """
    raw = [name for name in _RAW if _differ(base / name, tuned / name)]
    found: dict[str, Any] = {"files": raw} if raw else {}
    sides = [next((p for p in _PARSED if (folder / p).is_file()), "") for folder in (base, tuned)]
    if not all(sides):
        return found
    if sides[0] == sides[1] == "tokenizer.json" and not _differ(base / sides[0], tuned / sides[1]):
        return found
    one, other = read_tokenizer(base), read_tokenizer(tuned)
    return found | _tokens(one.tokens, other.tokens) | _rest(one, other)


def _tokens(base: Mapping[int, str], tuned: Mapping[int, str]) -> dict[str, Any]:
    here, there = set(base.values()), set(tuned.values())
    added = [token for token in tuned.values() if token not in here]
    removed = [token for token in base.values() if token not in there]
    before = {token: number for number, token in base.items()}
    moved = sum(1 for n, token in tuned.items() if token in before and before[token] != n)
    if not (added or removed or moved):
        return {}
    return {
        "tokens": {"base": len(base), "tuned": len(tuned)},
        "added": len(added),
        "removed": len(removed),
        "moved": moved,
        "names": [plain(token) for token in (added or removed)[:_NAMED]],
    }


def _rest(base: Tokenizer, tuned: Tokenizer) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if base.merges and tuned.merges and base.merges != tuned.merges:
        shared = len({*base.merges} & {*tuned.merges})
        sizes = {"base": len(base.merges), "tuned": len(tuned.merges), "shared": shared}
        found["merges"] = sizes
    if base.parts and tuned.parts:
        names = dict.fromkeys([*base.parts, *tuned.parts])
        parts = [n for n in names if not _alike(base.parts.get(n), tuned.parts.get(n))]
        found |= {"parts": parts} if parts else {}
    return found


def _alike(one: Any, other: Any) -> bool:
    """Say whether two parts are alike: a flag that one version leaves out is no difference."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = dict.fromkeys([*one, *other])
        return all(_alike(one[n], other[n]) for n in names if n in one and n in other) and all(
            isinstance(one.get(n, other.get(n)), bool | None)
            for n in names
            if n not in one or n not in other
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other) or {*map(str, (one, other))} == {"None", "False"}


def _differ(one: Place, other: Place) -> bool:
    """Say whether two files are both there and hold other bytes."""
    if not (one.is_file() and other.is_file()):
        return False
    mine, theirs = one.source(), other.source()
    if mine.size != theirs.size:
        return True
    if mine.identity == theirs.identity:
        return False
    return any(_part(mine, at) != _part(theirs, at) for at in range(0, mine.size, _CHUNK))


def _part(source: Source, at: int) -> bytes:
    with source.lend(at, min(at + _CHUNK, source.size)) as lent:
        return bytes(lent)


def added_data(base: SideFiles, tuned: SideFiles) -> dict[str, Any]:
    """Return how the added tokens differ of two tokenizers whose vocabulary is no JSON."""
    one, other = (_added(side) for side in (base, tuned))
    names = sorted({*one.items()} ^ {*other.items()})
    if not names:
        return {}
    sizes = {"base": len(one), "tuned": len(other)}
    return {"extra": sizes, "names": [plain(token) for token, _ in names[:_NAMED]]}


def _added(side: SideFiles) -> dict[str, int]:
    """Return the ids of added tokens in the small files."""
    told = side.settings.get("tokenizer_config.json", {}).get("added_tokens_decoder")
    pairs = told.items() if isinstance(told, Mapping) else ()
    found = {_text(token): int(key) for key, token in pairs if str(key).isdecimal()}
    more = side.settings.get("added_tokens.json", {})
    found |= {token: number for token, number in more.items() if type(number) is int}
    return {token: number for token, number in found.items() if token is not None}


def has_json(folder: Place) -> bool:
    """Say whether a folder has a vocabulary in JSON."""
    return any((folder / name).is_file() for name in _PARSED)


def special(side: SideFiles) -> dict[str, Any]:
    """Return the special tokens that a folder names, as texts."""
    mapped = side.settings.get("special_tokens_map.json", {})
    told = {**mapped, **side.settings.get("tokenizer_config.json", {})}
    found = {name: _text(told[name]) for name in _SPECIAL if _text(told.get(name)) is not None}
    more = sorted({text for name in _MORE for text in _texts(told.get(name))})
    return found | ({"additional_special_tokens": more} if more else {})


def _texts(told: Any) -> Iterator[str]:
    each = told.values() if isinstance(told, dict) else told if isinstance(told, list) else ()
    yield from (text for text in map(_text, each) if text is not None)


def _text(told: Any) -> str | None:
    content = told.get("content") if isinstance(told, Mapping) else told
    return content if isinstance(content, str) else None


def special_fields(base: SideFiles, tuned: SideFiles) -> Iterator[Field]:
    """Yield the special tokens that differ, of folders that both name some."""
    one, other = special(base), special(tuned)
    if one and other:
        yield from differing(one, other)


def cutting_fields(base: SideFiles, tuned: SideFiles) -> Iterator[Field]:
    """Yield the settings that decide how a text is cut, and that both sides have otherwise."""
    sides = [side.settings.get("tokenizer_config.json", {}) for side in (base, tuned)]
    both = [name for name in _CUTTING if all(side.get(name) is not None for side in sides)]
    held = [{name: side[name] for name in both} for side in sides]
    yield from differing(held[0], held[1])


def identifiers(told: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return, by special token, its ids in each file that has some."""
    found: dict[str, dict[str, Any]] = {}
    for file in ("config.json", "generation_config.json"):
        for name, value in id_fields(told.get(file, {})):
            if _ids(value):
                found.setdefault(name.removesuffix("_id"), {})[file] = value
    return found


def disagreeing(places: Mapping[str, Any]) -> bool:
    """Say whether the ids of a special token in two files have none in common.

    >>> disagreeing({"config.json": 2, "generation_config.json": [2, 7], "tokenizer": 7})
    False
    """
    last = places.get("generation_config.json", places.get("config.json"))
    others = [value for value in places.values() if value is not last]
    return bool(_ids(last)) and any(not _ids(last) & _ids(value) for value in others)


def _ids(value: Any) -> frozenset[int]:
    given = value if isinstance(value, list) else [value]
    return frozenset(one for one in given if type(one) is int)


def read_or_why(folder: Place) -> Tokenizer | str:
    """Read a tokenizer, or return why it cannot be."""
    try:
        return read_tokenizer(folder)
    except (BadFile, RecursionError) as error:
        return str(error)
