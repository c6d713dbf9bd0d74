"""What will be asked of a model, pass by pass, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from ftdiff.analyses.finding import counted
from ftdiff.analyses.importance import ablation, gates, gradients
from ftdiff.analyses.importance.gradients import Asked
from ftdiff.analyses.importance.parts import Part
from ftdiff.analyses.importance.passes import Pass
from ftdiff.analyses.live_model import losses
from ftdiff.analyses.live_model.changes import Changes


def wanted(
    asked: Asked,
    changed: Changes | None,
    found: Sequence[Part],
    measures: Sequence[str],
    nodes: int,
) -> Iterator[Pass]:
    """Yield every pass that is known beforehand."""
    yield gradients.AT_BASE
    if changed is not None:
        yield gradients.AT_TUNED
    if changed:
        yield from (gradients.slopes_at(t) for t, _ in gradients.nodes_of(nodes))
    for components in (False, True):
        here = [part for part in found if (part.component is not None) == components]
        for measure in measures:
            if measure == "gate":
                if here and changed:
                    yield gates.pass_of(here, changed)
            elif changed is not None or measure in ablation.OF_BASE:
                for part in ablation.moving(asked, changed, here, measure):
                    yield ablation.pass_of(measure, part)


def foretold(asked: Asked, left: Sequence[Pass]) -> tuple[str, float]:
    """Run one batch there and back, and return what is left, and how long it will take."""
    first = asked.rows.first(asked.pace.size)
    share = len(asked.rows) / len(first)
    losses.losses(asked.live, first, asked.pace)  # the first run of all is slower
    start = time.perf_counter()
    losses.losses(asked.live, first, asked.pace)
    middle = time.perf_counter()
    losses.gradients(asked.live, first, lambda name, gradient: None, asked.pace)
    forward, both = share * (middle - start), share * (time.perf_counter() - middle)
    kinds = [one.what for one in left]
    there = sum(kind in ablation.MEASURES for kind in kinds)
    back = kinds.count("worth") + kinds.count("slopes") + gates.STEPS * kinds.count("gate")
    texts = counted(len(asked.rows), "text")
    tokens = counted(int(asked.rows.mask.sum()), "token")
    runs = f"{counted(back, 'pass', 'passes')} there and back"
    runs += f", {there:,} there" if there else ""
    return f"{texts} of {tokens}, {runs}", there * forward + back * both
