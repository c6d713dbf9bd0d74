"""Measure how alike fine-tunes are: open, line up, measure all pairs, each file read once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np

from ftdiff.analyses.pairwise import (
    Asked,
    Line,
    Together,
    floor_sq,
    line_up,
    measure,
    place,
    run,
    tensors_of,
    unmeasured,
)
from ftdiff.analyses.similarity import subspaces
from ftdiff.analyses.similarity.about import about
from ftdiff.analyses.similarity.cost import foretold, kept
from ftdiff.analyses.similarity.result import Similarity
from ftdiff.comparison import executors
from ftdiff.comparison.progress import Progress, Say
from ftdiff.metrics.names import several
from ftdiff.registry import Registry
from ftdiff.tensors import Array, bounds

#: What can be measured beside the cosine, and what it costs.
MEASURES: Registry[str] = Registry(
    "measure",
    {
        "masks": "which entries changed at all, of stored checkpoints",
        "signs": "signs of the largest changes: TIES conflicts; adapters are multiplied out",
        "subspaces": "overlap and angles of the leading directions; of checkpoints by Lanczos",
    },
)


def similarity(
    tuned: Sequence[Any],
    base: Any | None = None,
    measures: str | Sequence[str] = (),
    executor: Executor | None = None,
    progress: Progress | None = None,
    *,
    say: Say | None = None,
) -> Similarity:
    """Measure how alike fine-tunes of one base are: ΔW against ΔW, never factor against factor.

    Parameters
    ----------
    tuned
        Two or more paths to checkpoints or adapters of any kind, or what `open_tuned` takes.
    base
        A path, or what `open_checkpoint` takes. Adapters whose change does not depend on the base
        (LoRA, LoKr, …) need none: weights that they hold whole are then left out, and said.
    measures
        Beside the cosine: "masks", "signs", "subspaces", or "all".
    executor
        Where to measure; threads of this process by default, one for each core.
    progress
        Called with the bytes read so far and in all.
    say
        Called with a sentence before what will take minutes.

    Raises
    ------
    BadCall
        There are fewer than two, or a checkpoint has no base.
    BadFile, BadAdapter, Mismatch
        One of them cannot be opened, or has nothing in common with the base or the others. A
        tensor that cannot be read is left out of its pairs instead, and `about["unreadable"]`
        says why.
    UnknownName
        A measure does not exist.

    Notes
    -----
    Changes that have factors are multiplied by each other through one product of all of them
    stacked. Others are read side by side, some rows at a time: each file once, whatever their
    number, and memory does not grow with the model.
    """
    named = dict.fromkeys(several(measures))
    asked = [*MEASURES] if "all" in named else [*named]
    for name in asked:
        MEASURES[name]
    lineup = line_up(base, several(tuned))
    told = foretold(lineup.lines, lineup.names, executors.count(executor), asked) if say else ""
    if say and told:
        say(told)
    bounds.afford(kept(lineup.lines, len(asked)), "all that is kept of each pair", "pairs")
    probes = tuple(name for name in asked if name != "subspaces")
    whole = any(one.kind == "full" for one in lineup.tuned)
    asking = Asked(base=whole, unrounded=whole, probes=probes)
    spaces = "subspaces" in asked
    task = partial(_measured, asked=asking, spaces=spaces)
    lost = partial(_unmeasured, asked=asking, spaces=spaces)
    found = run(lineup.lines, task, lost, executor, progress)
    together = [one for one, _ in found]
    sums = {"inner": np.stack([one.inner for one in together])}
    floors = [floor_sq(line, one) for line, one in zip(lineup.lines, together, strict=True)]
    sums["floor_sq"] = np.stack(floors)
    sums["base_rounding_sq"] = np.stack([_shared(one, len(lineup.names)) for one in together])
    before = [one.unrounded for one in together if one.unrounded is not None]
    if whole:
        sums["unrounded"] = np.stack([one.inner for one in before])
        sums["unrounded_error_sq"] = np.stack([one.error_sq for one in before])
    for probe in probes:
        for name in together[0].probes[probe]:
            sums[f"{probe}.{name}"] = np.stack([one.probes[probe][name] for one in together])
    if spaces:
        for name in found[0][1]:
            sums[f"subspaces.{name}"] = np.stack([overlaps[name] for _, overlaps in found])
    rows = [place(line) for line in lineup.lines]
    return Similarity(lineup.names, tensors_of(rows), sums, about(lineup, together))


def _measured(line: Line, asked: Asked, spaces: bool) -> tuple[Together, dict[str, Array]]:
    """Measure one line on a worker."""
    return measure(line, asked), subspaces.overlaps(line) if spaces else {}


def _unmeasured(
    line: Line, why: str, asked: Asked, spaces: bool
) -> tuple[Together, dict[str, Array]]:
    """Return what is known of a line whose worker died."""
    return unmeasured(line, asked, why), subspaces.unknown(line) if spaces else {}


def _shared(one: Together, n: int) -> Array:
    """Return what the base's own rounding is of each change; without whole checkpoints nothing."""
    return np.zeros(n) if one.base_rounding_sq is None else one.base_rounding_sq
