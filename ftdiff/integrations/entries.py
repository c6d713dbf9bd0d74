"""What is logged of a result: numbers at a step, and pictures as PNG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ftdiff.analyses.drift import Drift
from ftdiff.analyses.importance import Importance, drawn
from ftdiff.analyses.trajectory import Trajectory
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall

if TYPE_CHECKING:
    import pandas as pd

#: What every name begins with.
PREFIX = "ftdiff"
#: Numbers of a checkpoint that are logged for the whole model.
_OF_STEPS = ("relative_norm", "displacement", "relative_step", "efficiency", "step_cosine")


@dataclass(frozen=True)
class Entry:
    """What is logged at one step.

    Attributes
    ----------
    step
        The step.
    numbers
        By name, finite numbers: "ftdiff/relative_norm", "ftdiff/attn.q/relative_norm".
    pictures
        By name, PNG files' bytes.
    """

    step: int
    numbers: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def entries(result: Any, step: int | None = None) -> Iterator[Entry]:
    """Yield what is logged of a result, in the order of its steps.

    Parameters
    ----------
    result
        A diff: every number of sums, and `relative_norm` by component, with the heatmap. A
        trajectory: the same numbers for each checkpoint, with layers × steps and, for the last,
        layers × components. An importance: its losses and map; a drift: means over all tokens, and
        its map. Of any other result that has a figure, the figure.
    step
        The step of a result that has none of its own; 0 by default.

    Raises
    ------
    BadCall
        The result has no figure, or a trajectory is given a step.
    """
    if isinstance(result, Trajectory):
        if step is not None:
            raise BadCall("step=: each checkpoint of a trajectory has a step of its own")
        yield from _of_trajectory(result)
    elif isinstance(result, Diff):
        numbers = dict(result.whole())
        table = result.by("component", param="weight").dropna(subset=["component"])
        numbers |= _by_component(table, "relative_norm")
        yield _entry(step or 0, numbers, {"heatmap": _drawn(result)})
    elif isinstance(result, Importance):
        yield _entry(step or 0, _losses(result), {"importance": _worth(result)})
    else:
        numbers = dict(result.overall) if isinstance(result, Drift) else {}
        picture = _drawn(result)
        if not numbers and picture is None:
            raise _nothing(result)
        yield _entry(step or 0, numbers, {type(result).__name__.lower(): picture})


def _nothing(result: Any) -> BadCall:
    return BadCall(f"a {type(result).__name__} has neither numbers by step nor a figure to log")


def _losses(result: Importance) -> dict[str, float]:
    base, tuned = result.losses
    return {"loss_base": base} | ({} if tuned is None else {"loss_tuned": tuned})


def _worth(result: Importance) -> bytes | None:
    from ftdiff import plots

    return _png(lambda: plots.heatmap(result.diff, drawn(result), style="importance"))


def entry_of(run: Trajectory, place: int, pictures: Mapping[str, bytes | None]) -> Entry:
    """Return what is logged of one checkpoint of a run, by its place in it."""
    return _entry(run.steps[place], _numbers(run, place), pictures)


def map_of(run: Trajectory, place: int) -> bytes | None:
    """Return the heatmap of one checkpoint, layers × components; None where there are no layers."""
    from ftdiff import plots
    from ftdiff.naming import component_order

    number = _number(run)
    found = run.by("layer", "component").dropna(subset=["layer", "component"])
    found = found[found["checkpoint"] == run.names[place]]
    if found.empty:
        return None
    table = found.pivot(index="layer", columns="component", values=number).astype(float)
    table = table[component_order(table.columns)]
    title = f"{run.names[place]}, step {run.steps[place]}"
    return _png(lambda: plots.draw(table, _LABELS[number], title=title))


#: What the numbers of a heatmap are called.
_LABELS = {"relative_norm": "‖ΔW‖/‖W‖", "displacement": "‖ΔW‖"}


def _of_trajectory(run: Trajectory) -> Iterator[Entry]:
    last = len(run.names) - 1
    for place in range(len(run.names)):
        pictures: dict[str, bytes | None] = {}
        if place == last:
            pictures = {"heatmap": map_of(run, place), "courses": _courses(run)}
        yield entry_of(run, place, pictures)


def _courses(run: Trajectory) -> bytes | None:
    from ftdiff import plots

    return _png(lambda: plots.draw(run, _number(run), style="courses"))


def _number(run: Trajectory) -> str:
    return "relative_norm" if run.about["base"] else "displacement"


def _numbers(run: Trajectory, place: int) -> dict[str, float]:
    if not run.known.any():
        return {}
    whole = run.by()
    numbers = {name: float(whole[name].iloc[place]) for name in _OF_STEPS if name in whole}
    found = run.by("component")
    found = found[found["checkpoint"] == run.names[place]]
    return numbers | _by_component(found, _number(run))


def _by_component(table: pd.DataFrame, number: str) -> dict[str, float]:
    pairs = zip(table["component"], table[number].astype(float), strict=True)
    return {f"{name}/{number}": float(value) for name, value in pairs}


def _entry(step: int, numbers: Mapping[str, float], pictures: Mapping[str, bytes | None]) -> Entry:
    return Entry(
        step,
        {f"{PREFIX}/{name}": value for name, value in numbers.items() if math.isfinite(value)},
        {f"{PREFIX}/{name}": png for name, png in pictures.items() if png is not None},
    )


def _drawn(result: Any) -> bytes | None:
    """Return a result's own figure.

    Raises
    ------
    BadCall
        It has none.
    """
    from ftdiff import plots

    if not isinstance(result, Diff) and type(result) not in plots.OF_RUNS:
        raise _nothing(result)
    return _png(lambda: plots.draw(result))


def _png(draw: Callable[[], Any]) -> bytes | None:
    """Return a figure as PNG; None where there is nothing to draw."""
    from ftdiff import plots

    try:
        drawn = draw()
    except BadCall:  # nothing to draw: the numbers are logged all the same
        return None
    with TemporaryDirectory() as folder:
        return plots.save(drawn, Path(folder) / "figure.png").read_bytes()
