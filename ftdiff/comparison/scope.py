"""Over which tensors a number of everything is, in words: it is never given without them."""

from __future__ import annotations

from dataclasses import dataclass

from ftdiff.comparison.aggregation import Over
from ftdiff.comparison.cut import noun
from ftdiff.comparison.reasons import reasons
from ftdiff.comparison.result import Diff
from ftdiff.numbers import number

#: The share of an adapter that has to be compared for a number of everything.
_MOST = 0.5


@dataclass(frozen=True)
class Scope:
    """What a number of everything is over.

    Attributes
    ----------
    of
        "matrices", or "vectors" where no matrix was compared.
    over
        "all" or "moved"; see `Diff.by`.
    targeted
        Whether all of them are what an adapter targets.
    counted, tensors
        Of how many tensors the number is, and how many are on both sides.
    share
        Their share of these tensors' parameters.
    selected
        Whether all of this is of a selection: what was left out is in no number.
    row
        What each of them is, of a diff of parts: "head", "row", …
    still
        Whether none of them moved.
    """

    of: str
    over: Over
    targeted: bool
    counted: int
    tensors: int
    share: float
    selected: bool = False
    row: str = "tensor"
    still: bool = False

    @property
    def words(self) -> str:
        """Say which tensors: "all 30 matrices", "the 12 that moved", "the 12 that it targets"."""
        what = self.things
        if self.over == "moved" and not self.still:
            return f"the {self.counted:,} that moved"
        if self.selected:
            return f"the {what} selected"
        if self.targeted and not self._cut:
            return f"the {what} that it targets"
        return f"all {what}" if self.counted != 1 else f"its only {what.partition(' ')[2]}"

    @property
    def things(self) -> str:
        """How many of what: "30 matrices", "1 vector"."""
        many = f"{self.row}s" if self._cut else self.of
        one = self.row if self._cut else {"matrices": "matrix", "vectors": "vector"}.get(many, many)
        return f"{self.counted:,} {many if self.counted != 1 else one}"

    @property
    def _cut(self) -> bool:
        """Whether it counts parts of tensors."""
        return self.row != "tensor" and self.of == "vectors"

    @property
    def parts(self) -> str:
        """Say how much that is: "30 of 39 tensors, 99.6% of the parameters"."""
        of = f"selected {self.row}s" if self.selected else f"{self.row}s"
        whose = "their" if self.selected or self.row != "tensor" else "the"
        return f"{self.counted:,} of {self.tensors:,} {of}, {self.share:.1%} of {whose} parameters"


def scope(diff: Diff, over: Over = "all") -> Scope:
    """Return what a number of everything is over."""
    row = {name: values[0] for name, values in diff.everything(over).items()}
    params = int(row["params"])
    return Scope(
        of=str(row["of"]),
        over=over,
        targeted=diff.about.get("kind") != "full" and int(row["counted"]) < int(row["tensors"]),
        counted=int(row["counted"]),
        tensors=int(row["tensors"]),
        share=int(row["numel"]) / params if params else 0.0,
        selected=bool(diff.about.get("selection")),
        row=noun(diff),
        still=not int(row["moved"]),
    )


def withheld(diff: Diff) -> str:
    """Say why no number of everything is given; "" where one is.

    None is where most of an adapter found no place in the base: what is left is not the adapter.
    """
    about = diff.about
    share = (about.get("shares") or {}).get("tuned", 1.0)
    unmatched = about.get("unmatched") or {}
    if about.get("selection"):  # the numbers are said to be of these alone
        return ""
    if share >= _MOST or not unmatched or about.get("kind") == "full" or not about.get("base"):
        return ""
    modules = sum(name in unmatched for name in _named(diff))
    if not modules:
        return f"{1 - share:.1%} of the adapter led to no change of the base"
    count = modules + int(scope(diff).counted)
    return f"{modules:,} of {count:,} modules of the adapter have no place in the base"


def at_scale_one(diff: Diff) -> bool:
    """Whether factors were measured as they are stored, as no file says how they are scaled."""
    return any(not one["scale_known"] for one in reasons(diff.about, "unmerged"))


def _named(diff: Diff) -> list[str]:
    shapes = zip(diff.columns["tensor"], diff.columns["shape"], strict=True)
    return [str(name) for name, shape in shapes if shape is not None]


def headline(diff: Diff, metric: str = "relative_norm") -> str:
    """Return a metric of everything and what it is over; over what moved too where that differs.

    Empty where there is no value, as of a relative norm without a base.
    """
    if why := withheld(diff):
        return f"not given: {why}"
    whole, moved = (diff.whole(over).get(metric) for over in ("all", "moved"))
    every, some = scope(diff), scope(diff, "moved")
    if whole is None and moved is None:
        return ""
    parts = f"({every.parts})"
    if whole is None:
        return f"{number(moved)} over {some.words} ({some.parts})"
    if moved is None or some.counted == every.counted or not whole:
        return f"{number(whole)} over {every.words} {parts}"
    return f"{number(whole)} over {every.words}; {number(moved)} over {some.words} {parts}"
