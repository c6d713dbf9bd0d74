"""Add later checkpoints to a run that was measured before, or cut it; no file is read again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.analyses.pairwise import apart_from
from ftdiff.analyses.trajectory.storage import Parts
from ftdiff.errors import Mismatch
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd


def joined(early: Parts, late: Parts) -> Parts:
    """Return the parts of a trajectory of both; pairs across them are known from sketches alone.

    Raises
    ------
    Mismatch
        They are not of one base, or not one after the other.
    """
    early = _without_saved(early, late)
    _check(early, late)
    tensors = _union(early, late)
    first, second = _spread(early, tensors["tensor"]), _spread(late, tensors["tensor"])
    n, m = len(early.names), len(late.names)
    inner = np.full((len(tensors), n + m, n + m), np.nan)
    inner[:, :n, :n], inner[:, n:, n:] = first["inner"], second["inner"]
    base_sq = np.where(np.isnan(first["base_sq"]), second["base_sq"], first["base_sq"])
    sums = {"inner": inner, "base_sq": base_sq}
    for name in dict.fromkeys([*first, *second]):
        if name not in sums:
            both = [_or_missing(first, name, n), _or_missing(second, name, m)]
            sums[name] = np.concatenate(both, axis=1)
    names = (*early.names, *apart_from(early.names, late.names))
    about = {**late.about, "unreadable": _renamed(early, late, "unreadable", names)}
    about["apart"] = _renamed(early, late, "apart", names)
    about["noted"] = _renamed(early, late, "noted", names)
    about["saved"] = _renamed(early, late, "saved", names)
    about["nonfinite"] = _renamed(early, late, "nonfinite", names)
    runs = [part.about["sources"]["tuned"] for part in (early, late)]
    about["sources"] = {**late.about["sources"], "tuned": [*runs[0], *runs[1]]}
    about["order"] = ", then ".join(dict.fromkeys([early.about["order"], late.about["order"]]))
    kinds = [*early.about["kind"].split(", "), *late.about["kind"].split(", ")]
    about["kind"] = ", ".join(dict.fromkeys(kinds))
    return Parts(names, (*early.steps, *late.steps), tensors, sums, about)


def cut(run: Parts, count: int) -> Parts:
    """Return the parts of a run's first checkpoints."""
    names = run.names[:count]
    sums = {name: array[:, :count] for name, array in run.sums.items() if name != "base_sq"}
    sums |= {"inner": run.sums["inner"][:, :count, :count], "base_sq": run.sums["base_sq"]}
    about = dict(run.about)
    for key in ("unreadable", "apart", "noted", "saved", "nonfinite"):
        held = about.get(key, {})
        about[key] = {name: held[name] for name in names if name in held}
    about["sources"] = {**about["sources"], "tuned": about["sources"]["tuned"][:count]}
    return Parts(names, run.steps[:count], run.tensors, sums, about)


def _without_saved(early: Parts, late: Parts) -> Parts:
    """Leave out what the later files hold whole, of which there is no change without a base."""
    saved = {name for held in late.about.get("saved", {}).values() for name in held}
    kept = ~early.tensors["tensor"].isin(saved).to_numpy(bool)
    if kept.all():
        return early
    tensors = early.tensors[kept].reset_index(drop=True)
    sums = {name: array[kept] for name, array in early.sums.items()}
    return early._replace(tensors=tensors, sums=sums)


def _union(early: Parts, late: Parts) -> pd.DataFrame:
    import pandas as pd

    new = late.tensors[~late.tensors["tensor"].isin(early.tensors["tensor"])]
    return pd.concat([early.tensors, new], ignore_index=True) if len(new) else early.tensors


def _spread(part: Parts, names: Iterable[str]) -> dict[str, Array]:
    """Align a part's sums with all tensors: adapters leave the others as they are."""
    places = {name: i for i, name in enumerate(part.tensors["tensor"])}
    at = [places.get(name, -1) for name in names]
    here = np.array([i for i, place in enumerate(at) if place >= 0], int)
    from_ = np.array([place for place in at if place >= 0], int)
    whole = {"full", "delta"} & {*part.about["kind"].split(", ")}
    left = np.nan if whole else 0.0
    found = {}
    for name, array in part.sums.items():
        still = left if name in ("inner", "sketch", "floor_sq") else np.nan
        found[name] = np.full((len(at), *array.shape[1:]), still)
        found[name][here] = array[from_]
    return found


def _or_missing(sums: Any, name: str, count: int) -> Array:
    found: Array | None = sums.get(name)
    return np.full((len(sums["inner"]), count), np.nan) if found is None else found


def _check(early: Parts, late: Parts) -> None:
    if late.steps[0] <= early.steps[-1]:
        raise Mismatch(
            f"{late.names[0]}: step {late.steps[0]} is not after step {early.steps[-1]} of the "
            "earlier trajectory"
        )
    before, now = _facts(early), _facts(late)
    if not before.keys() & now.keys():
        raise Mismatch(f"{late.names[0]}: no tensor in common with the earlier trajectory")
    for name in before.keys() & now.keys():
        if before[name][0] != now[name][0]:
            was, found = before[name][0], now[name][0]
            raise Mismatch(f"{name}: {was} in the earlier trajectory, {found} now")
        if not np.array_equal(before[name][1], now[name][1], equal_nan=True):
            raise Mismatch(f"{name}: the earlier trajectory has another base")
    if early.sums["sketch"].shape[2] != late.sums["sketch"].shape[2]:
        raise Mismatch("the earlier trajectory has sketches of another size; measure it again")


def _facts(one: Parts) -> dict[str, tuple[Any, float]]:
    pairs = zip(one.tensors["shape"], one.sums["base_sq"].tolist(), strict=True)
    return dict(zip(one.tensors["tensor"], pairs, strict=True))


def _renamed(early: Parts, late: Parts, key: str, names: tuple[str, ...]) -> dict[str, Any]:
    new = dict(zip(late.names, names[len(early.names) :], strict=True))
    later = {new[name]: said for name, said in late.about.get(key, {}).items()}
    return {**early.about.get(key, {}), **later}
