"""The folders of a claim held against those here: which of their files are others, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftdiff.analyses.claims import digests, stored
from ftdiff.analyses.claims.files import Files
from ftdiff.formats import format_of
from ftdiff.formats.place import here

#: Other files of a folder are held by their digests up to this size.
_SMALL = 64 << 20


def others(
    said: Mapping[str, Any], files: Files, side: str, *, whole: bool = False, besides: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield the files of a side that are not those of the claim, and why.

    Parameters
    ----------
    said
        What the claim says of the side.
    files, side
        Both sides as they lie here, and which of them.
    whole
        Read each file; else of weights, which are held as tensors, only the size.
    besides
        A name at the top that is no part of the folder.
    """
    opened = files.opened(side)
    lie = digests.files_of(stored.place_of(opened), {*said["ignored"], besides} - {""})
    weights = {str(file["name"]) for file in opened.files}
    claimed = {str(file["name"]): file for file in said["files"]}
    for name in (name for name in claimed if name not in lie):
        yield name, "in the claim, not in the folder"
    for name in (name for name in lie if name not in claimed):
        yield name, "in the folder, not in the claim"
    read = {}
    for name, path in ((name, path) for name, path in lie.items() if name in claimed):
        size, was = path.stat().st_size, claimed[name]["bytes"]
        if size != was:
            yield name, f"{was:,} bytes in the claim, {size:,} here"
        elif whole or (name not in weights and size <= _SMALL and not _is_weights(path)):
            read[name] = path
    for file in digests.of_files(read, files.executor, files.progress if whole else None):
        if file["sha256"] != claimed[file["name"]]["sha256"]:
            yield file["name"], "another file than in the claim"


def _is_weights(path: Path) -> bool:
    return format_of(here(path)) is not None
