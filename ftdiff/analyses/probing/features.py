"""Features of a probe: the states of a model at the positions of every row, site by site."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ftdiff.analyses import texts
from ftdiff.analyses.finding import counted
from ftdiff.analyses.live_model import activations, batches
from ftdiff.analyses.live_model.activations import Site
from ftdiff.analyses.live_model.batches import Pace
from ftdiff.analyses.live_model.opening import Live
from ftdiff.analyses.probing.positions import Read
from ftdiff.analyses.tokens import Tokens
from ftdiff.comparison.progress import Report, Say, announce
from ftdiff.errors import BadCall
from ftdiff.tensors import Array

#: By the key of a site, float32 (rows, positions, d); rows without a position hold zeros there.
Features: TypeAlias = Mapping[tuple[str, str, int], Array]
#: Bytes of features beyond which they lie in a file that is deleted with them.
_IN_MEMORY = 2 << 30


@dataclass(frozen=True, eq=False)
class Places:
    """Rows of tokens, and where they are read.

    Attributes
    ----------
    rows
        What a model is given.
    at
        int, rows × positions: the token; −1 where a row has none.
    """

    rows: batches.Rows
    at: Array


def places(live: Live, read: Sequence[Read], at: Array) -> Places:
    """Lay rows out for a model.

    Raises
    ------
    BadCall
        A token is none of the model's, or a row is too long.
    """
    tokens = [Tokens(row.ids, (False,) * len(row.ids)) for row in read]
    padded = texts.padded(tokens, {})
    return Places(batches.rows(_unasked(live), padded), at)


def _unasked(live: Live) -> Live:
    """Return the same model, of which nothing is asked: no token is hidden from it."""
    return Live(live.model, live.tokenizer, "bare", live.device, live.dtype, live.source)


def features(
    live: Live,
    given: Places,
    sites: Sequence[Site],
    pace: Pace,
    progress: Report,
    say: Say | None = None,
) -> Features:
    """Run all rows, and keep their states at their positions.

    Raises
    ------
    BadCall
        A state is not finite, or not even one row fits in memory.
    """

    def gathered(size: int) -> Features:
        found: dict[tuple[str, str, int], Array] = {}
        start = time.perf_counter()
        for batch in batches.batches(live, given.rows, size):
            _keep(found, activations.states(live, batch, sites).hidden, given.at, batch.at)
            progress(batch.at.stop, len(given.rows))
            if batch.at.start == 0:
                left = (time.perf_counter() - start) * len(given.rows) / batch.at.stop
                what = f"{counted(len(given.rows), 'row')} through the model"
                announce(say, what, left, " each time")
        return found

    passed = pace.fit(gathered)
    found = {site.key: passed[site.key] for site in sites}
    for (site, _, layer), values in found.items():
        if not np.isfinite(values).all():
            raise BadCall(f"{live.source}: its states are not finite ({site} of layer {layer})")
    return found


def _keep(
    found: dict[tuple[str, str, int], Array], hidden: Mapping[Any, Any], at: Array, rows: slice
) -> None:
    wanted = at[rows]
    there = wanted >= 0
    row = np.nonzero(there)[0]
    whole = len(hidden) * at.size * 4
    for key, state in hidden.items():
        if key not in found:
            found[key] = _room((*at.shape, state.shape[-1]), whole * state.shape[-1])
        taken = state[row, wanted[there]].float().cpu().numpy()
        found[key][rows][there] = taken


def _room(shape: tuple[int, ...], whole: int) -> Array:
    if whole <= _IN_MEMORY:
        return np.zeros(shape, np.float32)
    with tempfile.TemporaryFile(prefix="ftdiff.") as file:  # the map keeps it until it is dropped
        return np.memmap(file, np.float32, "w+", shape=shape)
