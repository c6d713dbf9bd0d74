"""Git LFS pointers: what lies in a file's place where its bytes were not fetched."""

from __future__ import annotations

import re

from ftdiff.errors import BadFile
from ftdiff.formats.place import Place

_BEGINS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
#: A pointer has no more bytes, says its specification.
_LARGEST = 1024
_SIZE = re.compile(rb"^size (\d{1,18})$", re.MULTILINE)


def refuse_pointer(path: Place) -> None:
    """Raise where a file is a pointer to its bytes; what cannot be read is left to its reader.

    Raises
    ------
    BadFile
        It is one: the bytes are elsewhere, so many, and this is how they come.
    """
    if not path.is_file():  # a pipe would be waited for
        return
    try:
        source = path.source()
        with source.lend(0, min(_LARGEST, source.size)) as lent:
            text = bytes(lent)
    except BadFile:
        return
    if not text.startswith(_BEGINS):
        return
    told = _SIZE.search(text)
    size = f" to {int(told[1]):,} bytes" if told else ""
    raise BadFile(f"{path}: a Git LFS pointer{size}; `git lfs pull` fetches them")
