"""Parts taken away from a model, or of the change: what the loss then is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from ftdiff.analyses.importance.gradients import Asked
from ftdiff.analyses.importance.parts import Part, label, of
from ftdiff.analyses.importance.passes import Pass
from ftdiff.analyses.importance.resampling import Effect, effects
from ftdiff.analyses.live_model import layers, losses, mounting
from ftdiff.analyses.live_model.changes import Changes
from ftdiff.analyses.live_model.losses import Losses
from ftdiff.comparison.progress import Report
from ftdiff.errors import BadCall

#: What is measured of each part, and what it says.
MEASURES = {
    "skip": "L(base, the layer handing on its input) − L(base)",
    "zero": "L(base, the part's parameters at 0) − L(base)",
    "revert": "L(tuned, the part as in the base) − L(tuned)",
    "graft": "L(base) − L(base, the part as in the tuned)",
}
#: Those that there are of a base alone.
OF_BASE = ("skip", "zero")


def fits(measure: str, part: Part) -> bool:
    """Say whether a measure is defined for a part: only layers are skipped, or set to zero."""
    if measure == "skip":
        return part.layer is not None and part.component is None
    return measure != "zero" or part.layer is not None


def pass_of(measure: str, part: Part) -> Pass:
    """Return the pass in which a part is measured."""
    return Pass(measure, part, of_base=measure in OF_BASE)


def moving(
    asked: Asked, changes: Changes | None, found: Sequence[Part], measure: str
) -> list[Part]:
    """Return the parts that a measure is defined for, and that are run for it."""
    here = _defined(asked, found, measure)
    return [part for part in here if measure in OF_BASE or _moves(part, changes)]


def _defined(asked: Asked, found: Sequence[Part], measure: str) -> list[Part]:
    here = [part for part in found if fits(measure, part)]
    # a layer may be no module of its own
    return [part for part in here if measure != "skip" or _is_module(asked, part)]


def ablated(
    asked: Asked,
    changes: Changes | None,
    found: Sequence[Part],
    measure: str,
    reference: Losses,
    seed: int,
    done: Report,
) -> Iterator[tuple[Part, Effect]]:
    """Measure every part that a measure is defined for.

    Parameters
    ----------
    asked, changes
        The base, and what changes.
    found
        The parts.
    measure
        One of `MEASURES`.
    reference
        Losses of the tuned model for "revert", of the base for the others.
    seed
        What intervals and chances depend on.
    done
        Called with how many parts are measured, and of how many.
    """
    run = moving(asked, changes, found, measure)
    lost: list[Losses] = []
    with _standing(measure, changes):
        for i, part in enumerate(run, 1):
            made = partial(_lost, asked, changes, part, measure)
            lost.append(asked.once(pass_of(measure, part), made))
            done(i, len(run))
    sign = -1.0 if measure == "graft" else 1.0
    measured = dict(zip(run, effects(lost, reference, sign, seed), strict=True))
    for part in _defined(asked, found, measure):  # of what does not change, nothing is taken away
        yield part, measured.get(part, Effect(0.0, 0.0, 0.0, 1.0))


def _lost(asked: Asked, changes: Changes | None, part: Part, measure: str) -> Losses:
    with _changed(asked, changes, part, measure):
        return losses.losses(asked.live, asked.rows, asked.pace, of=_of(measure, part))


def _is_module(asked: Asked, part: Part) -> bool:
    try:
        layers.layer(asked.live, part.layer or 0, part.stack)
    except BadCall:
        return False
    return True


def _of(measure: str, part: Part) -> str:
    return f"the model with {label(part.stack, part.layer, part.component)} changed ({measure})"


def _moves(part: Part, changes: Changes | None) -> bool:
    return changes is not None and bool(of(part, changes.pieces))


def _standing(measure: str, changes: Changes | None) -> AbstractContextManager[None]:
    return nullcontext() if changes is None else mounting.at(changes, float(measure == "revert"))


def _changed(
    asked: Asked, changes: Changes | None, part: Part, measure: str
) -> AbstractContextManager[None]:
    ways: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "skip": lambda: layers.skipping(asked.live, part.layer or 0, part.stack),
        "zero": lambda: mounting.zeroed(asked.live, part.names),
    }
    if changes is not None:
        names = of(part, changes.pieces)
        ways["revert"] = lambda: mounting.at(changes, 0.0, names)
        ways["graft"] = lambda: mounting.at(changes, 1.0, names)
    return ways[measure]()
