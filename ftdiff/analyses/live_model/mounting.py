"""Set a model to W0 + t·ΔW, all of it or some; afterwards it is where it was, bit for bit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from ftdiff.analyses.live_model.changes import Changes
from ftdiff.analyses.live_model.opening import Live
from ftdiff.errors import require


@contextmanager
def at(
    changes: Changes, t: float | Mapping[str, float] = 1.0, only: Collection[str] | None = None
) -> Iterator[None]:
    """Set parameters to W0 + t·ΔW; afterwards they are where they were.

    Parameters
    ----------
    changes
        What a fine-tune changes in a model (`changes.changes_of`).
    t
        How far, for all or by parameter; those that are not named stay.
    only
        These parameters alone; all that move by default.
    """
    names = list(changes) if only is None else [name for name in changes if name in only]
    wanted = t if isinstance(t, Mapping) else dict.fromkeys(names, t)
    wanted = {name: wanted[name] for name in names if name in wanted}
    before = {name: changes.now(name) for name in wanted}
    try:
        for name, far in wanted.items():
            changes.put(name, far)
        yield
    finally:
        for name, far in before.items():
            changes.put(name, far)


def reverted(changes: Changes, only: Collection[str]) -> AbstractContextManager[None]:
    """Set everything to W0 + ΔW, but these parameters to W0."""
    return at(changes, {name: 0.0 if name in only else 1.0 for name in changes})


def grafted(changes: Changes, only: Collection[str]) -> AbstractContextManager[None]:
    """Set everything to W0, but these parameters to W0 + ΔW."""
    return at(changes, {name: 1.0 if name in only else 0.0 for name in changes})


@contextmanager
def zeroed(live: Live, names: Collection[str]) -> Iterator[None]:
    """Set parameters to zero; one that is tied counts under each of its names."""
    torch = require("torch", "models", "a model that runs")
    firsts = {live.named[name][0] for name in names}
    held = {name: parameter for name, parameter in live.parameters().items() if name in firsts}
    before = {name: parameter.detach().clone() for name, parameter in held.items()}
    try:
        with torch.no_grad():
            for parameter in held.values():
                parameter.zero_()
        yield
    finally:
        with torch.no_grad():
            for name, parameter in held.items():
                parameter.copy_(before[name])
