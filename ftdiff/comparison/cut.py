"""Parts of tensors: by what a diff was cut, and how many parts it has of how many tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.comparison.frame import length, there
from ftdiff.errors import BadCall

if TYPE_CHECKING:
    from ftdiff.comparison.result import Diff

#: What tensors are cut by, as `about["cut"]` has it.
CUTS = ("row", "column", "head", "token")
# An older diff does not say it, but its columns do. Tokens have a row's number, too.
_BY_COLUMN = {"token": "token", "head": "head", "kv_head": "head", "row": "row", "column": "column"}


def cut_of(diff: Diff) -> str:
    """Return what a diff of parts was cut by, one of `CUTS`; "" of whole tensors."""
    told = diff.about.get("cut")
    if told in CUTS:
        return str(told)
    return next((by for name, by in _BY_COLUMN.items() if name in diff.columns), "")


def noun(diff: Diff) -> str:
    """Return what a row of a diff is: "tensor", "head", …; "part" where some could not be cut."""
    by = cut_of(diff)
    named = [there(diff.columns[name]) for name in ("head", "kv_head") if name in diff.columns]
    if by == "head" and named and not np.logical_or.reduce(named).all():
        return "part"
    return by or "tensor"


def parts(diff: Diff) -> str:
    """Say how many parts of how many tensors: "728 heads of 112 tensors"; "" of whole tensors."""
    if not cut_of(diff):
        return ""
    count, of = length(diff.columns), len({*diff.columns["tensor"]})
    return f"{_counted(count, noun(diff))} of {_counted(of, 'tensor')}"


def about_of(diff: Diff) -> Mapping[str, Any]:
    """Return what a diff was made from; of an older one of parts without the model's coverage."""
    if not cut_of(diff) or "cut" in diff.about:
        return diff.about
    return {name: said for name, said in diff.about.items() if name not in ("coverage", "shares")}


def whole(diff: Diff, taker: str, where: str = "") -> None:
    """Refuse a diff of parts for what speaks of whole models.

    Parameters
    ----------
    diff
        What was given.
    taker
        What does not take it: "an audit".
    where
        Its file, where that is known; else the fine-tune is named.

    Raises
    ------
    BadCall
        It is of parts of tensors; the message names them, and the command that measures all.
    """
    if found := parts(diff):
        raise BadCall(
            f"{where or diff.about.get('tuned')}: a diff of {found}; {taker} is of whole tensors, "
            "and takes what `ftdiff compare BASE TUNED -o out/` saves"
        )


def _counted(count: int, one: str) -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}"
