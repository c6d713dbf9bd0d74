"""How much of each side was compared: of the base its parameters, of the fine-tune its files'."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ftdiff.adapters import account
from ftdiff.deltas.recipes import Tuned
from ftdiff.tensors import numel


@dataclass(frozen=True)
class Stored:
    """A tensor of the fine-tune's files.

    Attributes
    ----------
    parameters
        How many; an empty tensor counts as one, since what it should hold is not there.
    changes
        The changes that are made from it, and the share of it that each compares.
    accounted
        Whether it is known to be no part of any change, as what acts in training alone.
    """

    parameters: int
    changes: tuple[tuple[str, float], ...] = ()
    accounted: bool = False

    def compared(self, lost: Collection[str]) -> float:
        """Return how many of the parameters are in a change that was not lost."""
        if self.accounted:
            return self.parameters
        shares = (share for name, share in self.changes if name not in lost)
        return self.parameters * max(shares, default=0.0)


@dataclass(frozen=True)
class Coverage:
    """What a plan compares of either side.

    Attributes
    ----------
    base
        For each tensor of the base, how many parameters are compared or known to be untouched,
        and how many it has; None where there is no base.
    tuned
        The tensors of the fine-tune's files.

    Notes
    -----
    Rows that only the fine-tune has (a grown vocabulary) are not compared: the base's share is
    whole, the files' is not. Rows that only the base has lower the base's share likewise. A module
    that an adapter saved whole and that is new to the base has nothing to be compared with: it was
    read, and counts. A tensor of which the names fit and the shapes do not counts on neither side.
    One that holds NaN was compared.
    """

    base: Mapping[str, tuple[int, int]] | None = None
    tuned: tuple[Stored, ...] = field(default_factory=tuple)

    def shares(self, lost: Collection[str] = ()) -> dict[str, float]:
        """Return each side's share; `lost` are the changes that could not be measured."""
        files = sum(part.compared(lost) for part in self.tuned)
        found = {"tuned": _share(files, sum(part.parameters for part in self.tuned))}
        if self.base is not None:
            known = sum(count for name, (count, _) in self.base.items() if name not in lost)
            found["base"] = _share(known, sum(size for _, size in self.base.values()))
        return found


def of_files(tuned: Tuned, compared: Mapping[str, tuple[str, float]]) -> tuple[Stored, ...]:
    """Return the tensors of a fine-tune's files with the changes that are made from them.

    Parameters
    ----------
    tuned
        The fine-tune. One that names no files counts the tensors that its recipes change.
    compared
        For each recipe that is compared, the name of the change, and the share of it.
    """
    if not tuned.given:
        return tuple(
            Stored(numel(recipe.shape), (compared[name],) if name in compared else ())
            for name, recipe in tuned.recipes.items()
        )
    return tuple(
        Stored(
            max(1, numel(tuned.given[key].shape)),
            tuple(compared[name] for name in names if name in compared),
            key in tuned.spent and not tuned.spent[key],
        )
        for key, names in account.readers(tuned).items()
    )


def words(about: Mapping[str, Any], verb: str = "compared") -> str:
    """Say which share was compared, and of which side; "" for a diff that does not know.

    Without a base nothing was compared: the share is of what was read.

    >>> words({"coverage": 0.9, "shares": {"base": 0.9, "tuned": 1.0}})
    '90.0% of the parameters compared (90.0% of the base, 100.0% of the fine-tune)'
    """
    return f"{_share_of(about, verb)}{_sides(about)}" if "coverage" in about else ""


def too_little(about: Mapping[str, Any], asked: float) -> str:
    """Say that a smaller share was compared than is asked for; "" where it is not smaller."""
    if about["coverage"] >= asked:
        return ""
    return f"{_share_of(about, 'were compared')}, {asked:.1%} are asked for{_sides(about)}"


def _share_of(about: Mapping[str, Any], verb: str) -> str:
    shares = about.get("shares") or {"base": 1.0}
    done = verb if "base" in shares else verb.replace("compared", "read")
    return f"{percent(about['coverage'])} of the parameters {done}"


def _sides(about: Mapping[str, Any]) -> str:
    shares = about.get("shares") or {}
    if "base" not in shares or set(shares.values()) == {1.0}:
        return ""
    base, tuned = (percent(shares[side]) for side in ("base", "tuned"))
    return f" ({base} of the base, {tuned} of the fine-tune)"


def percent(share: float) -> str:
    """Write a share with one decimal; what is not whole is never written as 100 %.

    >>> percent(0.99999), percent(1.0), percent(0.5)
    ('99.9%', '100.0%', '50.0%')
    """
    return f"{min(share, 0.999) if share < 1 else share:.1%}"


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
