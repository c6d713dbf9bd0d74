"""Digests of a side: of its folder as model signing takes it, and of its tensors in any shards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftdiff.analyses.claims import stored
from ftdiff.comparison import executors, windows
from ftdiff.comparison.executors import Work
from ftdiff.comparison.progress import Progress
from ftdiff.errors import BadFile, attempt
from ftdiff.formats.place import Place
from ftdiff.tensors import LazyTensor

#: What model signing leaves out at the top of a folder.
IGNORED = (".git", ".gitattributes", ".github", ".gitignore")
#: Bytes that are read at a time.
_RUN = 4 << 20


def leaf(name: str, dtype: str, shape: Sequence[int], sha256: str) -> bytes:
    r"""Return the digest of a tensor's name, dtype, shape and bytes.

    SHA-256 over the name in UTF-8, the dtype, the sides of the shape in decimal with commas, and
    the 32 bytes of the digest of the tensor's bytes, with a zero byte between each two.

    >>> leaf("w", "F32", (2, 3), "00" * 32).hex()[:16]
    '7999c369cf5309ea'
    """
    sides = ",".join(map(str, shape))
    parts = (name.encode("utf-8"), dtype.encode("utf-8"), sides.encode("ascii"))
    return hashlib.sha256(b"\0".join((*parts, bytes.fromhex(sha256)))).digest()


def of_leaves(tensors: Iterable[Sequence[Any]]) -> str:
    """Return the digest of tensors, each a list of name, dtype, shape and digest of its bytes.

    SHA-256 over their leaves, in the order of their names' bytes; the same in any shards.
    """
    ordered = sorted(tensors, key=lambda one: str(one[0]).encode("utf-8"))
    return hashlib.sha256(b"".join(leaf(*one) for one in ordered)).hexdigest()


def of_manifest(files: Iterable[Mapping[str, Any]]) -> str:
    """Return the digest of files as OpenSSF Model Signing takes it of a model's.

    SHA-256 over the digests of the files, in the order of their names.
    """
    ordered = sorted(files, key=lambda file: str(file["name"]))
    held = b"".join(bytes.fromhex(file["sha256"]) for file in ordered)
    return hashlib.sha256(held).hexdigest()


@dataclass(frozen=True)
class _Held:
    """A file or a tensor whose digest is taken, and its bytes."""

    name: str
    what: Path | LazyTensor
    size: int


def of_tensors(
    tensors: Mapping[str, LazyTensor],
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Return SHA-256 of each tensor's bytes, many at a time.

    Raises
    ------
    BadFile
        One cannot be read.
    """
    pieces = [_Held(name, one, stored.size_of(one)) for name, one in tensors.items()]
    return _taken(pieces, executor, progress)


def of_files(
    files: Mapping[str, Path],
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Return name, bytes and SHA-256 of each file, in the order of their names.

    Raises
    ------
    BadFile
        One cannot be read.
    """
    pieces = [_Held(name, path, path.stat().st_size) for name, path in sorted(files.items())]
    found = _taken(pieces, executor, progress)
    return [{"name": one.name, "bytes": one.size, "sha256": found[one.name]} for one in pieces]


def files_of(place: Place, ignored: Collection[str] = ()) -> dict[str, Path]:
    """Return the files of a model as model signing lists them: by name, those of folders too.

    Links are followed. What git keeps at the top is left out, and so are the `ignored` there.

    Raises
    ------
    BadFile
        A name is not UTF-8.
    """
    path = Path(str(place))
    if path.is_file():
        return {path.name: path}
    found: dict[str, Path] = {}
    seen: set[str] = set()
    for folder, folders, names in os.walk(path, followlinks=True):
        real, left_out = os.path.realpath(folder), {*IGNORED, *ignored}
        if real in seen:  # a link that leads round in a circle
            folders.clear()
            continue
        seen.add(real)
        if Path(folder) == path:
            folders[:] = [name for name in folders if name not in left_out]
            names = [name for name in names if name not in left_out]
        files = [Path(folder, name) for name in names]
        found |= {_spelled(file.relative_to(path)): file for file in files if file.is_file()}
    return found


def _spelled(path: Path) -> str:
    text = path.as_posix()
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadFile(f"{text!r}: a file's name that is not UTF-8 cannot be in a claim") from error
    return text


def _taken(
    pieces: Sequence[_Held], executor: Executor | None, progress: Progress | None
) -> dict[str, str]:
    outcomes = executors.run(_TAKING, [[piece] for piece in pieces], executor, progress)
    found = {}
    for piece, outcome in zip(pieces, outcomes, strict=True):
        if isinstance(outcome, str):
            raise BadFile(outcome)
        found[piece.name] = outcome.hex()
    return found


def _take(piece: _Held) -> bytes | str:
    def digest() -> bytes:
        if isinstance(piece.what, Path):
            return _of_file(piece.what)
        return stored.digest(piece.what)

    return attempt(piece.name, digest)


def _of_file(path: Path) -> bytes:
    found = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(_RUN):
                found.update(block)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    return found.digest()


def _name(piece: _Held) -> str:
    return piece.name


def _size(piece: _Held) -> int:
    return piece.size


def _held(piece: _Held) -> int:
    return _RUN if isinstance(piece.what, Path) else windows.window(piece.what)


_TAKING: Work[_Held, bytes | str] = Work("digests", _take, _name, _size, _size, memory=_held)
