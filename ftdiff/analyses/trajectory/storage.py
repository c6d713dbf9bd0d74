"""The parts of a trajectory as a document, with the sketches that later checkpoints need."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ftdiff.analyses.pairwise import checked_about, checked_sums, packed, tensors_of, unpacked
from ftdiff.comparison.frame import records
from ftdiff.comparison.storage import Form
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd

FORM = Form("trajectory")


class Parts(NamedTuple):
    """What a trajectory is made of; see `Trajectory`."""

    names: tuple[str, ...]
    steps: tuple[int, ...]
    tensors: pd.DataFrame
    sums: Mapping[str, Array]
    about: dict[str, Any]


def document(parts: Parts) -> dict[str, Any]:
    """Return the parts as values that JSON holds; sketches as float32 in base 64."""
    sketch = parts.sums["sketch"]
    text = base64.b64encode(sketch.astype("<f4").tobytes()).decode()
    return {
        "names": [*parts.names],
        "steps": [*parts.steps],
        "about": parts.about,
        "tensors": records(parts.tensors),
        "sums": {name: packed(array) for name, array in parts.sums.items() if name != "sketch"},
        "sketch": {"shape": [*sketch.shape], "float32": text},
    }


def parts(stored: Mapping[str, Any]) -> Parts:
    """Return names, steps, tensors, sums and about of a document.

    Raises
    ------
    ValueError, KeyError, TypeError
        They do not fit each other.
    """
    names, steps = tuple(map(str, stored["names"])), tuple(map(int, stored["steps"]))
    tensors, about = tensors_of(stored["tensors"]), _sourced(stored["about"])
    sums = {str(name): unpacked(array) for name, array in stored["sums"].items()}
    sums["sketch"] = _sketch(stored["sketch"])
    _check(names, steps, tensors, sums, about)
    return Parts(names, steps, tensors, sums, about)


def _sourced(about: Any) -> Any:
    """Return what a trajectory was made from, with a record for each source.

    Files of the first releases name a source by the checkpoint's name, and know no more of it.
    """
    sources = about["sources"]
    if "tuned" in sources and not isinstance(sources["tuned"], str):
        return about
    tuned = [{"source": str(source), "files": []} for source in sources.values()]
    base = [] if about["base"] is None else [{"source": about["base"], "files": []}]
    return {**about, "sources": {"base": base, "tuned": tuned}}


def _sketch(stored: Mapping[str, Any]) -> Array:
    raw = base64.b64decode(stored["float32"], validate=True)
    return (
        np.frombuffer(raw, "<f4")
        .astype(np.float64)
        .reshape([abs(side) for side in stored["shape"]])
    )


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
    shapes |= {name: (count, n) for name in sums if name.startswith("metric.")}
    shapes["sketch"] = (count, n, sums["sketch"].shape[-1])
    checked_sums(sums, shapes)
    checked_about(about)
    if {*shapes} != {*sums} or not sums["sketch"].shape[-1]:
        raise ValueError("sums")
    if not n or len({*names}) < n or len(steps) != n or [*steps] != sorted({*steps}):
        raise ValueError("names or steps")
    if not isinstance(about["order"], str) or not isinstance(about["kind"], str):
        raise TypeError("about")
    if not isinstance(about["sources"]["tuned"], list) or len(about["sources"]["tuned"]) != n:
        raise ValueError("sources")
