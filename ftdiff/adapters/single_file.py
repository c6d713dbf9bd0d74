"""The one file of weights that a path means, and the names in it: how adapter files are known."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import lru_cache

from ftdiff.errors import FtdiffError
from ftdiff.formats import format_of, lone_file
from ftdiff.formats.container import Header
from ftdiff.formats.place import Place


def find(path: Place) -> Place | None:
    """Return the file itself, or the only file of weights in a folder that is no model's."""
    if not path.is_dir():
        return path if format_of(path) is not None and path.is_file() else None
    if (path / "config.json").exists() or (path / "model_index.json").exists():
        return None
    file = lone_file(path)
    known = None if file is None else format_of(file)
    return None if file is None or known is None or known.holds_model(file) else file


def names(path: Place) -> tuple[str, ...]:
    """Return the names in the file that `path` means; none where there is no readable one."""
    return tuple(shapes(path))


def shapes(path: Place) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of each tensor, by name; none where there is no readable file."""
    header = _of(path)
    return {} if header is None else {name: t.shape for name, t in header.tensors.items()}


def metadata(path: Place) -> dict[str, str]:
    """Return the file's own metadata; none where there is no readable file."""
    header = _of(path)
    return {} if header is None else dict(header.metadata)


def _of(path: Place) -> Header | None:
    file = find(path)
    try:
        return None if file is None else _header(file, file.source().identity)
    except FtdiffError:
        return None


@lru_cache(maxsize=16)
def _header(file: Place, identity: Hashable) -> Header | None:
    known = format_of(file)
    try:
        return None if known is None else known.read_header(file)
    except FtdiffError:  # whoever opens the file as a checkpoint says what is wrong with it
        return None
