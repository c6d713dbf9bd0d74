"""Texts as rows of tokens: which of them are there, which count, and where they lie in the text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ftdiff.analyses.tokens import Tokens, encoded
from ftdiff.errors import BadCall, BadFile, one_line
from ftdiff.formats.checkpoint import parse_json
from ftdiff.formats.written import refuse
from ftdiff.tensors import Array, stamp

#: How a row of a .jsonl says its text, by the fields that it has.
FORMS: Mapping[str, tuple[str, ...]] = {
    "input_ids": ("input_ids",),
    "messages": ("messages",),
    "prompt and answer": ("prompt", "answer"),
    "text": ("text",),
}
#: No vocabulary has as many tokens.
_MOST = 1 << 31
_LARGEST = 1 << 30


@dataclass(frozen=True, eq=False)
class Texts:
    """Rows of tokens, padded on the right with 0.

    Attributes
    ----------
    ids
        int64, (texts, length).
    mask
        bool: where a token is; False is padding.
    scored
        bool: the tokens whose prediction counts: of an answer, of everything; never padding, never
        a token that only marks (a beginning, an end).
    offsets
        int64, (texts, length, 2): the characters of each token in its text, (0, 0) where it is of
        none; None where the tokenizer does not say.
    about
        File, sha256 of its bytes, how many texts it has and how many are taken, tokens, seed, what
        was cut or left out.
    """

    ids: Array
    mask: Array
    scored: Array
    offsets: Array | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


def read(
    path: str | Path,
    tokenizer: Any | None,
    *,
    max_texts: int = 64,
    max_tokens: int = 256,
    seed: int = 0,
) -> Texts:
    """Read a file of texts.

    Parameters
    ----------
    path
        A text on each line; or .jsonl, a row with `text`, `prompt` and `answer` (the answer's
        tokens count), `messages` (through the chat template) or `input_ids` on each.
    tokenizer
        A tokenizer of transformers'; None will do for `input_ids`.
    max_texts
        So many texts, drawn at random where there are more; they stay in the order of the file.
    max_tokens
        Longer texts are cut.
    seed
        What the draw depends on.

    Raises
    ------
    BadFile
        The file cannot be read, a row is none of these, or no text is left.
    BadCall
        A limit is below 1, a seed below 0, or there is no tokenizer, or no chat template, and a
        text needs one.
    """
    if max_texts < 1 or max_tokens < 2:
        raise BadCall("at least 1 text and 2 tokens of it are needed")
    if seed < 0:
        raise BadCall("a seed is a whole number from 0")
    path = Path(path)
    rows, digest = rows_of(path)
    chosen = drawn(len(rows), max_texts, seed)
    found: list[Tokens] = []
    cut = 0
    for i in chosen:
        line, row = rows[i]
        one = tokens_of(row, tokenizer, f"{path}, line {line}")
        cut += len(one.ids) > max_tokens
        short = Tokens(
            *(one.ids[:max_tokens], one.scored[:max_tokens]),
            None if one.offsets is None else one.offsets[:max_tokens],
        )
        if any(short.scored[1:]):
            found.append(short)
    if not found:
        raise BadFile(f"{path}: no token is left to predict in {len(chosen)} texts")
    return padded(
        found,
        {
            "file": path.name,
            "sha256": digest,
            "texts_in_file": len(rows),
            "texts": len(found),
            "tokens": sum(len(one.ids) for one in found),
            "scored": sum(sum(one.scored[1:]) for one in found),
            "max_tokens": max_tokens,
            "cut": cut,
            "left_out": len(chosen) - len(found),
            "seed": seed,
        },
    )


def rows_of(path: Path) -> tuple[list[tuple[int, Mapping[str, Any]]], str]:
    """Return the rows of a file with the numbers of their lines, and the sha256 of its bytes.

    Raises
    ------
    BadFile
        It cannot be read, a line is no JSON object, or it has no text.
    """
    refuse(path, "text")
    try:
        if stamp(path)[2] > _LARGEST:
            raise BadFile(f"{path}: too large for a file of texts")
        raw = path.read_bytes()
        whole = raw.decode("utf-8-sig")
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{path}: not a text in UTF-8 ({error.reason})") from error
    lines = [(i, line) for i, line in enumerate(whole.split("\n"), 1) if line.strip()]
    if not lines:
        raise BadFile(f"{path}: it has no text")
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        return [(i, {"text": line.rstrip("\r")}) for i, line in lines], _digest(raw)
    return [(i, _row(line, f"{path}, line {i}")) for i, line in lines], _digest(raw)


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _row(line: str, where: str) -> Mapping[str, Any]:
    try:
        row = parse_json(line)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{where}: not valid JSON ({one_line(error, 80)})") from error
    if not isinstance(row, dict):
        raise BadFile(f"{where}: expected a JSON object, found {type(row).__name__}")
    return row


def drawn(count: int, most: int, seed: int) -> list[int]:
    """Return which of so many rows are taken, ascending: all, or a draw."""
    if count <= most:
        return list(range(count))
    return sorted(np.random.default_rng(seed).choice(count, most, replace=False).tolist())


def tokens_of(row: Mapping[str, Any], tokenizer: Any | None, where: str) -> Tokens:
    """Return the tokens of one row (see `FORMS`).

    Raises
    ------
    BadFile
        The row says no text, or says it in another type.
    BadCall
        It needs a tokenizer, or a chat template, and there is none.
    """
    form = next((form for form, fields in FORMS.items() if {*fields} <= {*row}), None)
    if form is None:
        known = ", ".join(FORMS)
        raise BadFile(f"{where}: a row has one of {known}; this one has {one_line([*row], 80)}")
    if form == "input_ids":
        return _given(row["input_ids"], where)
    if tokenizer is None:
        raise BadCall(f"{where}: the model has no tokenizer: give rows of input_ids in a .jsonl")
    if form == "messages":
        return encoded(tokenizer, _chat(row["messages"], tokenizer, where), special=False)
    fields = [row[name] for name in FORMS[form]]
    if not all(isinstance(value, str) for value in fields):
        raise BadFile(f"{where}: {form}: expected a text")
    prompt = fields[0] if len(fields) > 1 else ""
    return encoded(tokenizer, "".join(fields), answer=len(prompt))


def _given(ids: Any, where: str) -> Tokens:
    if not isinstance(ids, list) or not all(type(one) is int and 0 <= one < _MOST for one in ids):
        raise BadFile(f"{where}: input_ids: expected a list of whole numbers from 0")
    return Tokens(tuple(ids), (True,) * len(ids))


def _chat(messages: Any, tokenizer: Any, where: str) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise BadCall(f"{where}: messages, and the tokenizer has no chat template")
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False))
    # a template is a program of the model's: whatever it raises is about this row
    except Exception as error:
        raise BadFile(f"{where}: messages: {one_line(error, 200)}") from error


def padded(found: Sequence[Tokens], about: Mapping[str, Any]) -> Texts:
    """Lay texts out as rows of one length."""
    length = max(len(one.ids) for one in found)

    def laid(values: Callable[[Tokens], Any], dtype: Any, shape: tuple[int, ...] = ()) -> Array:
        rows = np.zeros((len(found), length, *shape), dtype)
        for row, one in zip(rows, found, strict=True):
            if len(one.ids):
                row[: len(one.ids)] = values(one)
        return rows

    known = all(one.offsets is not None for one in found)
    return Texts(
        ids=laid(lambda one: one.ids, np.int64),
        mask=laid(lambda one: True, bool),
        scored=laid(lambda one: one.scored, bool),
        offsets=laid(lambda one: one.offsets, np.int64, (2,)) if known else None,
        about=dict(about),
    )


def record(texts: Texts) -> dict[str, Any]:
    """Return what a result says of its texts, as values that JSON can hold."""
    about: dict[str, Any] = json.loads(json.dumps(dict(texts.about)))
    return about
