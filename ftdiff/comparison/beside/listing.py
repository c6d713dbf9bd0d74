"""What is said of one folder: code and pickles beside its weights, and files that are broken."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ftdiff.comparison.beside.kinds import note
from ftdiff.errors import BadFile
from ftdiff.formats.beside import SideFiles
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place

#: The largest file of code that is compared with the base's.
_LARGEST = 4 << 20


def folder_notes(
    held: SideFiles,
    base: SideFiles | None = None,
    side: str = "",
    named: Collection[str] = (),
) -> Iterator[Note]:
    """Say what lies beside the weights of a folder that may run, or that cannot be read.

    Parameters
    ----------
    held
        The folder.
    base
        That of the base, whose code is told from other code.
    side
        Which one of a pair it is.
    named
        Files of which it is said already that they were not read.
    """
    whose = {"side": side} if side else {}
    if held.code or held.remote:
        code = "code-as-base" if base is not None and _is_of(base, held) else "code-beside"
        yield note(code, files=[*held.code], auto_map=[*held.remote])
    if pickles := [name for name in held.pickles if name not in named]:
        yield note("pickle-beside", files=pickles)
    if held.twice:
        yield note("chat-template-twice", **whose)
    for file, why in held.unread.items():
        yield note("beside-unreadable", file=file, why=why, **whose)


def _is_of(base: SideFiles, held: SideFiles) -> bool:
    """Say whether the base has the same code, byte by byte, under the same names."""
    if base.folder is None or held.folder is None or not {*held.remote} <= {*base.remote}:
        return False
    return all(_bytes(base.folder / name) == _bytes(held.folder / name) for name in held.code)


def _bytes(path: Place) -> bytes | float:
    """Return what a file holds; NaN, which equals nothing, of one that is too large or gone."""
    try:
        return path.read(_LARGEST)
    except BadFile:
        return float("nan")
