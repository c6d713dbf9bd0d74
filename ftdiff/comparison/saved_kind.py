"""Which kind of result a file says that it holds."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ftdiff.errors import BadFile
from ftdiff.tensors import stamp

_TAG = re.compile(rb'\s*\{\s*"format"\s*:\s*"ftdiff\.([a-z]+)/')


def kind_of(path: Path) -> str:
    """Return the kind of result that a file says it holds; "" for a file of others.

    Raises
    ------
    BadFile
        There is no such file, or it cannot be read.
    """
    try:
        stamp(path)
        with path.open("rb") as file:
            head = file.read(4096)
        if match := _TAG.match(head):
            return match[1].decode()
        if path.suffix.lower() != ".json":
            return ""
        document = json.loads(path.read_bytes())  # keys in another order
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError, MemoryError):
        return ""
    tag = document.get("format") if isinstance(document, dict) else None
    found = re.fullmatch(r"ftdiff\.([a-z]+)/.*", tag) if isinstance(tag, str) else None
    return found[1] if found else ""
