"""The tokens that rows of an embedding stand for, read from tokenizer files as plain JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.formats import place
from ftdiff.formats.checkpoint import read_json
from ftdiff.formats.place import Place

#: No vocabulary has more; what claims to is not read into a list.
_LARGEST = 1 << 24


def vocabulary(folder: str | Place) -> dict[int, str]:
    """Read token by row number from a folder's `tokenizer.json`, or its `vocab.json`.

    Parameters
    ----------
    folder
        A model folder, or a file in it; one without a tokenizer gives nothing.

    Returns
    -------
    dict of int to str
        Tokens as the tokenizer spells them ("Ġthe"), added ones included.

    Raises
    ------
    BadFile
        The file is there and is not a tokenizer's.
    """
    found = place.again(folder) if isinstance(folder, str) else folder
    if found is None or not found.exists():
        return {}
    path = found.home
    for name, read in (("tokenizer.json", tokens), ("vocab.json", _plain)):
        if (path / name).is_file():
            held = dict(read(read_json(path / name, halves=True), path / name))
            extra = path / "added_tokens.json"
            if extra.is_file():
                held |= dict(_plain(read_json(extra, halves=True), extra))
            return held
    return {}


def tokens(told: dict[str, Any], path: Place) -> Iterator[tuple[int, str]]:
    """Yield number and token of what `tokenizer.json` holds, added tokens last.

    Raises
    ------
    BadFile
        It is no tokenizer's.
    """
    model = told.get("model")
    entries = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(entries, dict):
        yield from _plain(entries, path)
    elif isinstance(entries, list):  # a unigram model's: token and score, in the order of rows
        for i, entry in enumerate(entries):
            if not isinstance(entry, list) or not entry:
                raise BadFile(f"{path}: entry {i} of model.vocab is no token with its score")
            yield _checked(i, entry[0], path)
    else:
        raise BadFile(f"{path}: no vocabulary under model.vocab")
    added = told.get("added_tokens") or []
    if not isinstance(added, list):
        raise BadFile(f"{path}: added_tokens is no list")
    for entry in added:
        if not isinstance(entry, dict):
            raise BadFile(f"{path}: an entry of added_tokens is no object")
        yield _checked(entry.get("id"), entry.get("content"), path)


def _plain(told: dict[str, Any], path: Place) -> Iterator[tuple[int, str]]:
    for token, number in told.items():
        yield _checked(number, token, path)


def _checked(number: Any, token: Any, path: Place) -> tuple[int, str]:
    if type(number) is not int or not 0 <= number < _LARGEST or not isinstance(token, str):
        raise BadFile(f"{path}: {str(token)[:40]!r} has no row number ({str(number)[:40]!r})")
    return number, token.encode("utf-8", "backslashreplace").decode("utf-8")
