"""A similarity's files: JSON, whole and exact to the bit, and CSV."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdiff.cohort import packed, tensors_of, unpacked
from ftdiff.errors import BadCall, BadFile
from ftdiff.frames import records, written
from ftdiff.tensors import Array, stamp

if TYPE_CHECKING:
    import pandas as pd

    from ftdiff.likeness.result import Similarity

FORMAT = "ftdiff.similarity/1"

_UNFIT = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def save(found: Similarity, path: Path) -> Path:
    """Write .json or .csv; the file appears only when it is whole."""
    ending = path.suffix.lower()
    if ending == ".csv":
        with written(path) as temporary:
            found.frame.to_csv(temporary, index=False)
    elif ending == ".json":
        text = json.dumps(document(found), ensure_ascii=False, allow_nan=False)
        with written(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    else:
        raise BadCall(f"{path}: a similarity is saved as .json or .csv")
    return path


def document(found: Similarity) -> dict[str, Any]:
    """Return everything as values that JSON holds; what is missing is null."""
    return {
        "format": FORMAT,
        "names": [*found.names],
        "about": found.about,
        "tensors": records(found.tensors),
        "sums": {name: packed(array) for name, array in found.sums.items()},
    }


def load(path: Path) -> tuple[tuple[str, ...], pd.DataFrame, dict[str, Array], dict[str, Any]]:
    """Read what `save` wrote as JSON: names, tensors, sums, about.

    Raises
    ------
    BadFile
        The file is not a saved similarity.
    """
    try:
        stamp(path)
        stored = json.loads(path.read_bytes())
        if stored["format"] != FORMAT:
            told = str(stored["format"])[:40]
            raise BadFile(f"{path}: written in format {told!r}, this is {FORMAT!r}")
        names = tuple(map(str, stored["names"]))
        tensors, about = tensors_of(stored["tensors"]), stored["about"]
        sums = {str(name): unpacked(array) for name, array in stored["sums"].items()}
        unfit = [name for name, array in sums.items() if len(array) != len(tensors)]
        if unfit or sums["inner"].shape[1:] != (len(names), len(names)):
            raise ValueError("sums")
        if not isinstance(about, dict):
            raise TypeError("about")
        return names, tensors, sums, about
    except _UNFIT as error:
        raise BadFile(
            f"{path}: not a similarity saved by ftdiff ({type(error).__name__})"
        ) from error
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
