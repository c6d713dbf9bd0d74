"""A trajectory's files: JSON, whole, with the sketches that later checkpoints need, and CSV."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.cohort import packed, tensors_of, unpacked
from ftdiff.errors import BadCall, BadFile
from ftdiff.frames import records, written
from ftdiff.tensors import Array, stamp

if TYPE_CHECKING:
    import pandas as pd

    from ftdiff.journey.result import Trajectory

FORMAT = "ftdiff.trajectory/1"
_UNFIT = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def save(found: Trajectory, path: Path) -> Path:
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
        raise BadCall(f"{path}: a trajectory is saved as .json or .csv")
    return path


def document(found: Trajectory) -> dict[str, Any]:
    """Return everything as values that JSON holds; sketches as float32 in base 64."""
    sums = {name: packed(array) for name, array in found.sums.items() if name != "sketch"}
    sketch = found.sums["sketch"]
    text = base64.b64encode(sketch.astype("<f4").tobytes()).decode()
    return {
        "format": FORMAT,
        "names": [*found.names],
        "steps": [*found.steps],
        "about": found.about,
        "tensors": records(found.tensors),
        "sums": sums,
        "sketch": {"shape": [*sketch.shape], "float32": text},
    }


Parts = tuple[tuple[str, ...], tuple[int, ...], "pd.DataFrame", dict[str, Array], dict[str, Any]]


def load(path: Path) -> Parts:
    """Read what `save` wrote as JSON: names, steps, tensors, sums, about.

    Raises
    ------
    BadFile
        The file is not a saved trajectory.
    """
    try:
        stamp(path)
        stored = json.loads(path.read_bytes())
        if stored["format"] != FORMAT:
            told = str(stored["format"])[:40]
            raise BadFile(f"{path}: written in format {told!r}, this is {FORMAT!r}")
        names, steps = tuple(map(str, stored["names"])), tuple(map(int, stored["steps"]))
        tensors, about = tensors_of(stored["tensors"]), stored["about"]
        sums = {str(name): unpacked(array) for name, array in stored["sums"].items()}
        sums["sketch"] = _sketch(stored["sketch"])
        _check(names, steps, tensors, sums, about)
        return names, steps, tensors, sums, about
    except _UNFIT as error:
        raise BadFile(
            f"{path}: not a trajectory saved by ftdiff ({type(error).__name__})"
        ) from error
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error


def _sketch(stored: Mapping[str, Any]) -> Array:
    raw = base64.b64decode(stored["float32"], validate=True)
    return np.frombuffer(raw, "<f4").astype(np.float64).reshape(tuple(stored["shape"]))


def _check(
    names: tuple[str, ...],
    steps: tuple[int, ...],
    tensors: pd.DataFrame,
    sums: Mapping[str, Array],
    about: Any,
) -> None:
    """Hold the parts' sizes against each other.

    Raises
    ------
    ValueError
        They do not fit.
    """
    count, n = len(tensors), len(names)
    shapes = {"inner": (count, n, n), "base_sq": (count,), "floor_sq": (count, n)}
    fit = all(sums[name].shape == shape for name, shape in shapes.items())
    fit &= sums["sketch"].ndim == 3 and sums["sketch"].shape[:2] == (count, n)
    fit &= all(v.shape == (count, n) for name, v in sums.items() if name.startswith("metric."))
    known = isinstance(about, dict) and isinstance(about.get("sources"), dict)
    if not fit or not known or len(steps) != n or not n or len({*names}) < n:
        raise ValueError("parts of other sizes")
    if not isinstance(about["order"], str) or not isinstance(about["kind"], str):
        raise ValueError("about")
    if len(about["sources"]) != n:
        raise ValueError("about")
