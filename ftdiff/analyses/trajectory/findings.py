"""What a trajectory shows, in sentences with their numbers: movement, never meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ftdiff.analyses.finding import Finding, counted, gravest_first, listed, speaks_for
from ftdiff.analyses.pairwise import said as of_files
from ftdiff.analyses.pairwise import troubles
from ftdiff.analyses.trajectory.result import Trajectory
from ftdiff.metrics import TRUSTED_SNR, faint
from ftdiff.numbers import signed

if TYPE_CHECKING:
    import pandas as pd

# Defaults, as the sentences name them.
_FEWEST = 4  # checkpoints under which nothing is said of a shape
_SATURATED, _EARLY = 0.9, 0.5  # of the final length, by this share of the steps
_BEYOND = 5.0  # standard deviations of a cosine
_JUMP = 4.0  # times the median step, each over its number of steps
_DRIFT = 0.8  # of a straight line's efficiency
_BIASED = (
    ", and their cosine_final is biased: rounding pulls it towards 0, or, where the base has a "
    "wider dtype, towards 1"
)


@speaks_for(Trajectory)
def findings(found: Trajectory) -> list[Finding]:
    """Return what is worth saying, alarms first."""
    said = [*troubles(found.about), *of_files(found.about)]
    if found.known.any():
        whole = found.by()
        said += [*_floor(found, whole), *_still(whole), *_turned(whole), *_jumps(whole)]
        said += [*_saturation(found, whole), *_drift(found, whole)]
    return gravest_first(said)


def _floor(found: Trajectory, whole: pd.DataFrame) -> Iterator[Finding]:
    """Say once how much of the run does not stand out of rounding, and is therefore not judged."""
    under, steps = ([*map(str, _faint(whole, name))] for name in ("snr", "step_snr"))
    last = found.by("component").groupby("component", sort=False).tail(1)
    components = [*map(str, last["component"][faint(last["snr"])])]
    if not (under or steps or components):
        return
    parts = [
        f"{len(under)} of {counted(len(whole), 'checkpoint')} ({listed(under)})" if under else "",
        f"{len(steps)} of {counted(len(whole), 'step')} (to {listed(steps)})" if steps else "",
        f"{len(components)} of {counted(len(last), 'component')} at the last checkpoint "
        f"({listed(components)})"
        if components
        else "",
    ]
    yield Finding(
        "under-the-floor",
        "caution",
        f"{listed([part for part in parts if part])} moved too little for the storage dtype: "
        f"squared size under {TRUSTED_SNR:g} times the squared rounding error. Of those no "
        f"efficiency, turn or growth is told{_BIASED if under or components else ''}",
        {
            "checkpoints": under,
            "steps": steps,
            "components": components,
            "of": {"checkpoints": len(whole), "components": len(last)},
            "threshold": TRUSTED_SNR,
        },
    )


def _faint(whole: pd.DataFrame, snr: str) -> pd.Series[str]:
    return whole["checkpoint"][faint(whole[snr])]


def _still(whole: pd.DataFrame) -> Iterator[Finding]:
    still = whole[whole["step_length"] == 0]
    if len(still):
        names = [*map(str, still["checkpoint"])]
        yield Finding(
            "standstill",
            "caution",
            f"{listed(names)}: not one weight differs from the checkpoint before (or the base)",
            {"checkpoints": names},
        )


def _turned(whole: pd.DataFrame) -> Iterator[Finding]:
    """Steps that go back on the one before, further than chance."""
    back = whole[whole["step_cosine"] < -_BEYOND * whole["cosine_null"]]
    back = back[back["step_cosine"] < -0.1]
    if len(back):
        names = [*map(str, back["checkpoint"])]
        yield Finding(
            "turned-back",
            "note",
            f"{listed(names)}: the step goes against the one before, cosine down to "
            f"{signed(back['step_cosine'].min(), '.2f')}",
            {"checkpoints": names, "cosine": float(back["step_cosine"].min())},
        )


def _jumps(whole: pd.DataFrame) -> Iterator[Finding]:
    spans = np.diff(whole["step"].to_numpy(float))
    if len(whole) < _FEWEST or (spans <= 0).any():
        return
    length = whole["step_length"].to_numpy(float)[1:]
    clear = ~faint(whole["step_snr"]).to_numpy(bool)[1:]
    pace = length / np.sqrt(spans)
    usual = float(np.median(pace))
    blurred = "" if 2 * clear.sum() > len(clear) else "; the usual one is blurred by rounding"
    for i in np.flatnonzero((pace > _JUMP * usual) & clear) if usual > 0 else ():
        name = str(whole["checkpoint"].iloc[i + 1])
        yield Finding(
            "jump",
            "caution",
            f"{name}: its step is {pace[i] / usual:.1f} times the usual one (lengths over the root "
            f"of their number of steps{blurred}): a restart, another learning rate, or another "
            "run?",
            {"checkpoint": name, "ratio": float(pace[i] / usual), "threshold": _JUMP},
        )


def _saturation(found: Trajectory, whole: pd.DataFrame) -> Iterator[Finding]:
    """Say where most of the way was gone early: overall, then the components that differ."""
    if len(whole) < _FEWEST:
        return
    overall = _share(whole)
    if overall <= _EARLY:
        yield _saturated("the change", whole, overall)
    for component, rows in found.by("component").groupby("component", sort=False):
        share = _share(rows)
        if share <= _EARLY and share <= 0.7 * overall:
            yield _saturated(str(component), rows, share)


def _share(rows: pd.DataFrame) -> float:
    """Return the share of all steps by which the length was, and stayed, near its final one.

    NaN where it does not stand out of rounding then.
    """
    length = rows["displacement"].to_numpy(float)
    if not length[-1] > 0:
        return float("nan")
    below = np.flatnonzero(length < _SATURATED * length[-1])
    first = int(below[-1]) + 1 if len(below) else 0
    if faint(rows["snr"].iloc[first:]).any():
        return float("nan")
    return float(rows["step"].iloc[first] / rows["step"].iloc[-1])


def _saturated(what: str, rows: pd.DataFrame, share: float) -> Finding:
    last = int(rows["step"].iloc[-1])
    return Finding(
        "early-saturation",
        "note",
        f"{what} had {_SATURATED:.0%} of its final length by step {round(share * last)} of "
        f"{last} ({share:.0%})",
        {"what": what, "share": share, "length": _SATURATED, "threshold": _EARLY},
    )


def _drift(found: Trajectory, whole: pd.DataFrame) -> Iterator[Finding]:
    """Say how the length grew, and whether the path is a line, a walk, or something between."""
    if len(whole) < _FEWEST:
        return
    facts = found.growth().iloc[0]
    beta, fit = float(facts["exponent"]), float(facts["r_squared"])
    efficiency, null = float(facts["efficiency"]), float(facts["efficiency_null"])
    if np.isfinite(beta) and fit >= 0.9:
        yield Finding(
            "growth",
            "note",
            f"‖ΔW‖ grew as steps^{beta:.2f} (R² {fit:.2f}; a random walk has 0.5, a straight line "
            "1)",
            {"exponent": beta, "r_squared": fit},
        )
    if efficiency >= _DRIFT and efficiency > 1.2 * null:
        yield Finding(
            "drift",
            "note",
            f"the weights went one way throughout: {efficiency:.0%} of the path is displacement, "
            f"steps at right angles would give {null:.0%}",
            {"efficiency": efficiency, "null": null, "threshold": _DRIFT},
        )
    elif efficiency < 0.8 * null:
        yield Finding(
            "wander",
            "note",
            f"the path turns back on itself: {efficiency:.0%} of it is displacement, steps at "
            f"right angles would give {null:.0%}",
            {"efficiency": efficiency, "null": null},
        )
