"""What stands where a file should be, and is none: refused by name, before it is opened."""

from __future__ import annotations

import errno
import os
import stat

from ftdiff.errors import BadFile

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def refuse_irregular(path: str | os.PathLike[str]) -> None:
    """Raise where a path is there, and is neither a file nor a folder, nor a link to one.

    Raises
    ------
    BadFile
        It is a pipe or a device, or a link to one, in a circle or to nowhere. Opening the first
        may wait for ever, and of the last the weights are gone.
    """
    found = irregular(path)
    if found:
        raise BadFile(f"{path}: {found}, and no file")


def irregular(path: str | os.PathLike[str]) -> str:
    """Say what a path is that is neither a file nor a folder; "" where it is one, or not there."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if not os.path.islink(path):
            return ""
        if error.errno == errno.ELOOP:
            return "a link in a circle"
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR)
        return f"a link that leads nowhere (to {os.readlink(path)})" if gone else ""
    except ValueError:  # no path has such a character
        return ""
    what = next((words for kind, words in _KINDS if kind(mode)), "")
    return f"{what} (a link to {os.readlink(path)})" if what and os.path.islink(path) else what
