"""Where a fine-tune lies, as a relative and escaped URI that a repository's pages can show."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote


def relative_uri(about: Mapping[str, Any]) -> str:
    """Return the fine-tune's first file, relative to the repository in which the command runs.

    Of a file outside of it the folder's and the file's names; of another machine's what follows
    the scheme. Never a path of this machine.

    >>> relative_uri({"tuned": "hf://org/a model"}), relative_uri({"tuned": "/home/me/x/y.gguf"})
    ('org/a%20model', 'x/y.gguf')
    """
    place = _first_file(about)
    if scheme := re.match(r"[a-z][a-z0-9+.-]+://", place):
        return quote(place[scheme.end() :].lstrip("/")) or "model"
    path = Path(os.path.abspath(place))
    root = _root(Path.cwd())
    if path.is_relative_to(root):
        return quote(path.relative_to(root).as_posix()) if path != root else "."
    return quote("/".join(PurePath(path).parts[-2:]).lstrip("/"))


def _first_file(about: Mapping[str, Any]) -> str:
    """Return the path of the fine-tune's first file, or what the fine-tune is called."""
    for source in about.get("sources", {}).get("tuned", ()):
        if isinstance(source, Mapping):  # the first trajectories had names alone
            for file in source.get("files", ()):
                return str(file["path"])
            return str(source["source"])
    return str(about.get("tuned") or "model")


def _root(folder: Path) -> Path:
    """Return the folder of the repository that a folder is in; else the folder itself."""
    return next((one for one in (folder, *folder.parents) if (one / ".git").exists()), folder)
