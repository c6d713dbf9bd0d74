"""The one file of weights that a path means, and the names in it: how adapter files are known."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from ftdiff.errors import FtdiffError
from ftdiff.formats import format_of, lone_file
from ftdiff.tensors import stamp


def find(path: Path) -> Path | None:
    """Return the file itself, or the only file of weights in a folder that is no model's."""
    if not path.is_dir():
        return path if format_of(path) is not None and path.is_file() else None
    if (path / "config.json").exists() or (path / "model_index.json").exists():
        return None
    file = lone_file(path)
    known = None if file is None else format_of(file)
    return None if file is None or known is None or known.holds_model(file) else file


def names(path: Path) -> tuple[str, ...]:
    """Return the names in the file that `path` means; none where there is no readable one."""
    file = find(path)
    return _header(file, stamp(file))[0] if file is not None else ()


def metadata(path: Path) -> dict[str, str]:
    """Return the file's own metadata; none where there is no readable file."""
    file = find(path)
    return dict(_header(file, stamp(file))[1]) if file is not None else {}


@lru_cache(maxsize=16)
def _header(
    file: Path, marks: tuple[int, int, int, int]
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    known = format_of(file)
    if known is None:
        return (), ()
    try:
        header = known.read_header(file)
    except FtdiffError:  # whoever opens the file as a checkpoint says what is wrong with it
        return (), ()
    return tuple(header.tensors), tuple(header.metadata.items())
