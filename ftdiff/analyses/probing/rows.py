"""The rows of a probe's data: a text, a label, and where in it something stands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ftdiff.analyses import texts
from ftdiff.errors import BadFile, one_line
from ftdiff.formats.written import refuse
from ftdiff.tensors import Array

#: The span that a row's `exact_answer` is.
EXACT = "exact_answer"
#: Whole numbers below it are told apart as floats.
_LARGEST = 1 << 53


@dataclass(frozen=True)
class Row:
    """One text with its label.

    Attributes
    ----------
    text
        The whole text; of a question and its answer, one after the other.
    answer
        The character at which the answer begins; None where there is no question.
    label
        As the file has it.
    spans
        Characters (first, beyond the last) of the text by name.
    group
        Rows of one group are never on both sides of a split; None for a row by itself.
    """

    text: str
    answer: int | None
    label: Any
    spans: Mapping[str, tuple[int, int]]
    group: str | None


@dataclass(frozen=True, eq=False)
class Data:
    """All rows of a file.

    Attributes
    ----------
    rows
        In the order of the file.
    labels
        bool: True for the second of the two labels in order (1, true, the later word).
    classes
        What the file calls them, False's first.
    sha256
        Of the file.
    """

    rows: tuple[Row, ...]
    labels: Array
    classes: tuple[str, str]
    sha256: str

    @property
    def groups(self) -> list[object]:
        """The group of each row."""
        return [i if row.group is None else row.group for i, row in enumerate(self.rows)]

    @property
    def spans(self) -> tuple[str, ...]:
        """The names of all spans."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.spans))


def read(path: str | Path) -> Data:
    """Read a .jsonl of rows with `label` and `text`, or `prompt` and `answer`.

    A row may have `exact_answer` (found in the answer, whatever its case), `spans` (by name, the
    first character and the one beyond the last, in the whole text) and `group`.

    Raises
    ------
    BadFile
        It cannot be read, a row is not such a row, or there are not two labels.
    """
    path = Path(path)
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        refuse(path, "rows of a probe")
        raise BadFile(f"{path}: a probe's data is a .jsonl with a row on each line")
    lines, digest = texts.rows_of(path)
    rows = tuple(_row(held, f"{path}, line {line}") for line, held in lines)
    if len({isinstance(row.label, str) for row in rows}) > 1:
        raise BadFile(f"{path}: labels are words in some rows and numbers in others")
    classes = sorted({_label(row.label) for row in rows})
    if len(classes) != 2:
        told = ", ".join(repr(one_line(text, 40)) for _, text in classes[:4])
        raise BadFile(
            f"{path}: a probe tells two labels apart, and there are {len(classes)}: {told}"
        )
    labels = np.array([_label(row.label) == classes[1] for row in rows])
    return Data(rows, labels, (classes[0][1], classes[1][1]), digest)


def _label(value: Any) -> tuple[float, str]:
    """Return a label's order and name; true and 1 are one label."""
    if isinstance(value, str):
        return 0.0, value
    return float(value), f"{float(value):g}"


def _row(held: Mapping[str, Any], where: str) -> Row:
    if "label" not in held:
        raise BadFile(f"{where}: no label")
    label = held["label"]
    number = isinstance(label, bool | int | float) and abs(label) < _LARGEST
    if not number and not isinstance(label, str):
        raise BadFile(f"{where}: label: expected a number, a truth value or a word")
    if {"prompt", "answer"} <= {*held}:
        prompt, answer = (_text(held, name, where) for name in ("prompt", "answer"))
        text, start = prompt + answer, len(prompt)
    elif "text" in held:
        text, start = _text(held, "text", where), None
    else:
        raise BadFile(f"{where}: a row has text, or prompt and answer")
    if not text:
        raise BadFile(f"{where}: an empty text")
    spans = dict(_exact(held, text, start or 0, where))
    spans |= _spans(held.get("spans"), text, where)
    group = held.get("group")
    return Row(text, start, label, spans, None if group is None else str(group))


def _text(held: Mapping[str, Any], name: str, where: str) -> str:
    value = held[name]
    if not isinstance(value, str):
        raise BadFile(f"{where}: {name}: expected a text")
    return value


def _exact(
    held: Mapping[str, Any], text: str, start: int, where: str
) -> Sequence[tuple[str, tuple[int, int]]]:
    if held.get(EXACT) in (None, ""):
        return ()
    found = re.compile(re.escape(_text(held, EXACT, where)), re.IGNORECASE).search(text, start)
    return ((EXACT, found.span()),) if found else ()


def _spans(given: Any, text: str, where: str) -> dict[str, tuple[int, int]]:
    if given is None:
        return {}
    if isinstance(given, list):
        given = {EXACT: given}
    if not isinstance(given, dict):
        raise BadFile(f"{where}: spans: expected an object of [first, beyond the last]")
    found = {}
    for name, ends in given.items():
        whole = isinstance(ends, list) and len(ends) == 2 and all(type(end) is int for end in ends)
        if not whole or not 0 <= ends[0] < ends[1] <= len(text):
            raise BadFile(
                f"{where}: spans: {one_line(name, 40)}: expected [first, beyond the last] within "
                f"{len(text)} characters"
            )
        found[str(name)] = (ends[0], ends[1])
    return found
