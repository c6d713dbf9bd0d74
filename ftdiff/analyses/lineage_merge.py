"""Whether a model is a merge of candidates: a sample of all mixes, then the likeliest in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import combinations
from zlib import crc32

import numpy as np

from ftdiff.analyses.merges import MergeOf, merge_of
from ftdiff.errors import Mismatch
from ftdiff.formats import Checkpoint
from ftdiff.tensors import numel

#: Candidates that may be in a mix, and of how many each pair is tried alone, or with a base.
_MOST, _PAIRS = 6, 3
#: Tensors that a sample reads, entries that it reads of each, and how large they are at least.
_DRAWN, _ENTRIES, _LEAST = 12, 8192, 64
#: Where the sum of all leaves more than the first, none is tried that is nearly a sum; where it
#: leaves less than the second, none that drops entries.
_FAR, _NEAR = 0.3, 0.1
#: A candidate with a smaller coefficient is not in it; of a merge that lacks a parent, the second.
_IN, _PARTLY = 0.02, 0.1
#: A mix that is not exact has no larger coefficient: if M = .6 A + .4 B, A = 1.67 M − .67 B.
_WHOLE = 1.05
#: Verdicts that are told, the surest first.
TOLD = ("exactly", "sparse", "changed", "partly")


@dataclass(frozen=True)
class Mix:
    """Of which candidates a model may be, and of what they were tuned."""

    parents: tuple[Checkpoint, ...]
    base: Checkpoint | None = None


def merged_of(
    model: Checkpoint,
    candidates: Sequence[Checkpoint],
    executor: Executor | None = None,
    *,
    whole: bool = True,
) -> MergeOf | None:
    """Return the likeliest merge of two candidates or more that a model is; None where none.

    Parameters
    ----------
    model, candidates
        Of one shape; the nearest candidate first.
    executor
        As in `merge_of`.
    whole
        Whether what a sample says is held against every entry; else it is the sample that is said.
    """
    if len(candidates) < 2:
        return None
    whole_mix = Mix(tuple(candidates[:_MOST]))
    first = _tried(*_drawn(model, whole_mix), _ENTRIES, executor)
    best = _ranked(first, whole_mix)
    for mix in [] if best is not None and best[0] == 0 else _mixes(whole_mix.parents, first):
        found = _ranked(_tried(*_drawn(model, mix), _ENTRIES, executor), mix)
        if found is not None and (best is None or found[0] < best[0]):
            best = found
        if best is not None and best[0] == 0:
            break
    if best is None:
        return None
    _, sampled, mix = best
    if not whole:
        return sampled
    found_ = _tried(model, replace(mix, parents=_inside(sampled, mix)), None, executor)
    return found_ if found_ is not None and found_.verdict in TOLD else None


def _ranked(found: MergeOf | None, mix: Mix) -> tuple[int, MergeOf, Mix] | None:
    """Return how sure it is, the surest 0, with what was found; None where nothing is told."""
    if found is None or found.verdict not in TOLD or not _several(found, mix):
        return None
    return TOLD.index(found.verdict), found, mix


def _mixes(candidates: tuple[Checkpoint, ...], first: MergeOf | None) -> Iterator[Mix]:
    """Yield what is tried when the sum of all is not exact: other sums, and what drops entries."""
    left = 1.0 if first is None else _left(first)
    if first is not None and left < _NEAR:
        shares = [*first.about.get("coefficients", {}).values()]
        if shares and min(shares) < -_IN:  # changes were added to it
            base = candidates[shares.index(min(shares))]
            yield Mix(tuple(one for one in candidates if one is not base), base)
    near = candidates[:_PAIRS]
    if left < _FAR and len(candidates) > 2:
        yield from (Mix(pair) for pair in combinations(near, 2))
    for base in near if left > _NEAR else ():
        others = [one for one in candidates if one is not base][:_PAIRS]
        yield from (Mix(pair, base) for pair in combinations(others, 2))


def _drawn(model: Checkpoint, mix: Mix) -> tuple[Checkpoint, Mix]:
    """Return them with a few of the tensors that all have by one name, if there are such."""
    all_ = [model, *mix.parents, *([mix.base] if mix.base is not None else [])]
    shared = set.intersection(*({*one.tensors} for one in all_))
    large = [name for name in shared if numel(model.tensors[name].shape) >= _LEAST]
    names = sorted(large, key=lambda name: (crc32(name.encode()), name))[:_DRAWN]
    if not names:
        return model, mix

    def cut(one: Checkpoint) -> Checkpoint:
        return replace(one, tensors={name: one.tensors[name] for name in names})

    base = None if mix.base is None else cut(mix.base)
    return cut(model), Mix(tuple(cut(one) for one in mix.parents), base)


def _tried(
    model: Checkpoint, mix: Mix, sample: int | None, executor: Executor | None
) -> MergeOf | None:
    try:
        return merge_of(model, mix.parents, mix.base, sample=sample, executor=executor)
    except Mismatch:
        return None


def _left(found: MergeOf) -> float:
    """Return what is left over all, each tensor by its moved entries."""
    rows = found.frame[found.frame["left"].notna()]
    moved, left = rows["moved"].to_numpy(float), rows["left"].to_numpy(float)
    return float(np.sqrt(moved @ left**2 / moved.sum())) if moved.sum() else 1.0


def _several(found: MergeOf, mix: Mix) -> bool:
    """Say whether it is made of several, and none of these of it."""
    if found.verdict == "sparse":
        return True
    profile = found.profile.to_numpy(float)
    if found.verdict != "exactly" and bool((profile > _WHOLE).any()):
        return False
    if found.verdict == "partly":
        shares = found.about["coefficients"].values()
        return len([share for share in shares if share > _PARTLY]) > 1
    return len(_inside(found, mix)) > 1


def _inside(found: MergeOf, mix: Mix) -> tuple[Checkpoint, ...]:
    if found.verdict in ("sparse", "partly"):
        return mix.parents
    shares = found.about["coefficients"].values()
    return tuple(one for one, share in zip(mix.parents, shares, strict=True) if abs(share) > _IN)
