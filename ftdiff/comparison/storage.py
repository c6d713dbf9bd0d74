"""Results as files: JSON, whole and tagged with its kind, or a table; written whole or not at all.

To give another result a saved form: a `Form`, a function that makes its document, and one that
takes its parts from a document and raises `Unfit` where they do not fit each other.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ftdiff.comparison import collector, csv_text
from ftdiff.errors import BadCall, BadFile, inert, require
from ftdiff.formats.written import refuse
from ftdiff.tensors import Array, stamp

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


class Lines(list[str]):
    """Records that are JSON already, each in a line."""


@dataclass(frozen=True)
class Form:
    """The saved form of a kind of result.

    Attributes
    ----------
    kind
        The result's name, a word.
    version
        Of its document.
    indent
        Spaces by which its JSON is indented; None for a single line.
    rows
        Its list of records, the longest part: each stands in a line of its own.
    read
        Older versions of its document that are read too.
    described
        Whether a JSON Schema of its document is in `ftdiff/schemas/`, which it then names.
    """

    kind: str
    version: int = 1
    indent: int | None = None
    rows: str | None = None
    read: tuple[int, ...] = ()
    described: bool = False

    @property
    def tag(self) -> str:
        """What a document says that it is.

        >>> Form("diff").tag
        'ftdiff.diff/1'
        """
        return f"ftdiff.{self.kind}/{self.version}"

    @property
    def one(self) -> str:
        """The kind with its article.

        >>> Form("audit").one, Form("diff").one
        ('an audit', 'a diff')
        """
        return f"a{'n' if self.kind[0] in 'aeiou' else ''} {self.kind}"

    @property
    def readable(self) -> tuple[str, ...]:
        """The tags of all documents that can be read."""
        return tuple(f"ftdiff.{self.kind}/{version}" for version in (self.version, *self.read))

    def text(self, document: Mapping[str, Any]) -> str:
        """Return a document as JSON with its tag, which has no NaN and no infinity."""
        named = {"$schema": schema_id(self.kind, self.version)} if self.described else {}
        tagged = {"format": self.tag, **named, **document}
        rows = tagged.pop(self.rows) if self.rows and tagged[self.rows] else ()
        text = inert(json.dumps(tagged, ensure_ascii=False, indent=self.indent, allow_nan=False))
        if not rows:
            return text
        encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False)  # in C: it never indents
        lines = inert(",\n  ".join(rows if isinstance(rows, Lines) else map(encoder.encode, rows)))
        return f'{text[:-1].rstrip()},\n "{self.rows}": [\n  {lines}\n ]\n}}'


def schema_id(kind: str, version: int) -> str:
    """Return the name of a schema in `ftdiff/schemas/`, by which files call it."""
    return f"urn:ftdiff:schema:{kind}:{version}"


class Unfit(ValueError):
    """Why a document is no saved result, before the file is named."""


def save(
    path: Path,
    form: Form,
    document: Callable[[], Mapping[str, Any]],
    frame: Callable[[], pd.DataFrame],
    columns: Mapping[str, Array] | None = None,
) -> Path:
    """Write a document as .json, or its table as .csv or .parquet, by the path's ending.

    Where its table is at hand as columns (see `ftdiff.comparison.frame`), CSV takes no frame.

    Raises
    ------
    BadCall
        The ending is another.
    BadFile
        The file cannot be written.
    MissingExtra
        Parquet needs pyarrow.
    """
    ending = path.suffix.lower()
    if ending == ".json":
        text = form.text(document())
        with written(path) as temporary:
            # a path that is not UTF-8 keeps its bytes, as the escapes that JSON has for them
            temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    elif ending == ".csv" and columns is not None:
        with written(path) as temporary:
            _write_columns(temporary, columns)
    elif ending == ".csv":
        table = frame()
        if "shape" in table:
            shapes = table["shape"].map(lambda shape: "x".join(map(str, shape or ())))
            table = table.assign(shape=shapes)
        with written(path) as temporary:
            csv_text.write(table, temporary)
    elif ending == ".parquet":
        require("pyarrow", "parquet", "writing Parquet")
        table = frame()
        if "shape" in table:
            table = table.assign(shape=table["shape"].map(lambda shape: list(shape or ())))
        with written(path) as temporary:
            table.to_parquet(temporary, index=False)
    else:
        raise BadCall(f"{path}: a {form.kind} is saved as .json, .csv or .parquet")
    return path


def _write_columns(path: Path, columns: Mapping[str, Array]) -> None:
    """Write columns as CSV, as a frame of them would be: what is missing is empty."""
    lists = [
        [None if value != value else value for value in values.tolist()]
        if values.dtype == np.float64
        else _cells(name, values.tolist())
        for name, values in columns.items()
    ]
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        lines = csv.writer(file, lineterminator=os.linesep)
        lines.writerow(map(csv_text.as_text, columns))
        lines.writerows(zip(*lists, strict=True))


def _cells(name: str, values: list[Any]) -> list[Any]:
    if name == "shape":
        return ["x".join(map(str, shape or ())) for shape in values]
    if {*map(type, values)} <= {str, int, type(None)}:
        texts = {value: csv_text.as_text(value) for value in {*values}}
        return [texts[value] for value in values]
    return [None if value != value else csv_text.as_text(value) for value in values]


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Lend a temporary path beside `path`, and move it there only when it is whole.

    What a link leads to is written, and the link stays.

    Raises
    ------
    BadFile
        The file cannot be written, or is a pipe or a device, which would be replaced.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if path.exists() and not path.is_file() and not path.is_dir():
        raise BadFile(f"{path}: a pipe or a device; what is written has to be a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
    except OSError as error:
        if path.parent.is_file():
            raise BadFile(f"{path}: cannot be written: {path.parent} is a file") from error
        raise BadFile(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def written_folder(folder: Path) -> Iterator[Path]:
    """Lend the path of a folder beside this one, and move it there only when it is whole.

    Raises
    ------
    BadFile
        It cannot be written.
    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        yield beside
        try:
            os.replace(beside, folder)
        except OSError as error:
            raise BadFile(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


_UNFIT = (
    *(ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError),
    *(IndexError, MemoryError),
)


def load(path: Path, form: Form, parts: Callable[[Mapping[str, Any]], T]) -> T:
    """Return what `parts` takes from a document that `save` wrote.

    Raises
    ------
    BadFile
        The file is no such document, or its parts do not fit each other.
    """
    try:
        stamp(path)
        with collector.paused():
            document = json.loads(path.read_bytes(), parse_constant=_refused)
        if document["format"] not in form.readable:
            given = str(document["format"])[:40]
            refuse(path, f"a saved {form.kind}")
            raise BadFile(f"{path}: written in format {given!r}, this is {form.tag!r}")
        _check_origin(document.get("about"))
        with collector.paused():
            return parts(document)
    except Unfit as error:
        raise BadFile(f"{path}: not {form.one} saved by ftdiff: {error}") from error
    except _UNFIT as error:
        name = type(error).__name__
        raise BadFile(f"{path}: not {form.one} saved by ftdiff ({name})") from error
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error


def _refused(word: str) -> None:
    raise Unfit(f"it holds {word}, which is never saved")


def _check_origin(about: Any) -> None:
    """Check what every kind of result says of its files and versions, as `made_of` wrote it.

    The first trajectories have a name alone for each of their sources.

    Raises
    ------
    Unfit
        A part is missing, or has another type.
    """
    if not isinstance(about, dict):
        return
    sources, versions = about.get("sources", {}), about.get("versions", {})
    if not isinstance(sources, dict) or not isinstance(versions, dict):
        raise Unfit("about.sources or about.versions is no map")
    sides = [side for side in sources.values() if not isinstance(side, str)]
    if not all(isinstance(side, list) and all(map(_is_source, side)) for side in sides):
        raise Unfit("about.sources has no records")


def _is_source(one: Any) -> bool:
    return (
        isinstance(one, dict)
        and isinstance(one.get("source"), str)
        and isinstance(one.get("files"), list)
        and all(map(_is_file, one["files"]))
    )


def _is_file(one: Any) -> bool:
    if not isinstance(one, dict) or not {"path", "bytes"} <= {*one}:
        return False
    return isinstance(one["path"], str) and type(one["bytes"]) in (int, type(None))
