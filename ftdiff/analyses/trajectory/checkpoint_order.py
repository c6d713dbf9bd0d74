"""Which checkpoint came when: by the trainer's own record, by the numbers in names, or as given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from ftdiff.errors import BadCall, BadFile, near
from ftdiff.formats import place
from ftdiff.formats.checkpoint import read_json

Order = Literal["auto", "trainer", "names", "given"]

#: How the order is said that nothing else tells.
GIVEN = "the order given"
#: How the order is said where the steps themselves were given.
STEPS = "the steps given"
_STATE = "trainer_state.json"
_NUMBER = re.compile(r"(\d+)(?!.*\d)")


def expanded(checkpoints: Sequence[Any]) -> list[Any]:
    """Return the checkpoints of a run's folder in place of the folder, where one is given.

    A run's folder holds folders called `checkpoint-N`, and their order is that of N.
    """
    found: list[Any] = []
    for one in checkpoints:
        inside = _saved(Path(one)) if isinstance(one, str | Path) and str(one) else []
        found += inside or [one]
    return found


def _saved(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    numbered = {
        int(match.group(1)): path
        for path in folder.iterdir()
        if path.is_dir() and (match := re.fullmatch(r"checkpoint-(\d{1,18})", path.name))
    }
    return [numbered[number] for number in sorted(numbered)]


def ordered(checkpoints: Sequence[Any], order: Order = "auto") -> tuple[list[Any], list[int], str]:
    """Put checkpoints in the order of training.

    Parameters
    ----------
    checkpoints
        Paths, or what `open_tuned` takes.
    order
        "trainer": by `global_step` in each one's trainer_state.json; "names": by the last number
        in each name; "given": as they come, counted from 1. "auto" takes the first that all have.

    Returns
    -------
    checkpoints, steps, how
        In order; each one's step; and which record said so, in words.

    Raises
    ------
    BadCall
        The order asked for is not to be had, or two checkpoints have one step.
    """
    if order not in get_args(Order):
        orders = get_args(Order)
        raise BadCall(f"order={order!r}: it is one of {', '.join(orders)}{near(order, orders)}")
    ways: dict[str, tuple[list[int | None], str]] = {}
    if order in ("auto", "trainer"):
        ways["trainer"] = [_trainer_step(one) for one in checkpoints], f"global_step in {_STATE}"
    if order in ("auto", "names"):
        ways["names"] = [_number(one) for one in checkpoints], "the last number in each name"
    for name, (steps, how) in ways.items():
        known = [step for step in steps if step is not None]
        if len(known) == len(steps) and len({*known}) == len(known):
            places = sorted(range(len(known)), key=known.__getitem__)
            return [checkpoints[i] for i in places], [known[i] for i in places], how
        if order == name or (name == "trainer" and len(known) == len(steps)):
            lost = next((i for i, step in enumerate(steps) if step is None), None)
            told = "two have the same step" if lost is None else f"{checkpoints[lost]} has none"
            raise BadCall(f"no order by {how}: {told}; --order given takes them as they come")
    return [*checkpoints], [*range(1, len(checkpoints) + 1)], GIVEN


def _trainer_step(checkpoint: Any) -> int | None:
    if not isinstance(checkpoint, str | Path):
        return None
    at = place.again(str(checkpoint))
    state = None if at is None else at.home / _STATE
    if state is None or not state.is_file():
        return None
    step = read_json(state).get("global_step")
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < 10**18:
        raise BadFile(f"{state}: global_step is {str(step)[:40]!r}, not a number of steps")
    return step


def _number(checkpoint: Any) -> int | None:
    if not isinstance(checkpoint, str | Path):
        return None
    found = _NUMBER.search(Path(checkpoint).name)
    return int(found.group(1)) if found and len(found.group(1)) < 19 else None
