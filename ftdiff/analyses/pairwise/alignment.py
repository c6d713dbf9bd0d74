"""Line many fine-tunes up over one base, tensor by tensor; nothing is read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ftdiff.adapters import Several, is_moved, open_base, open_several
from ftdiff.analyses.pairwise.line import Line
from ftdiff.analyses.pairwise.planned_alike import Followers, following
from ftdiff.comparison.alignment import alone, together
from ftdiff.comparison.plan import Change, Plan, pair
from ftdiff.deltas.recipes import Beside, Recipe, Tuned, is_saved
from ftdiff.errors import BadCall, Mismatch, one_line
from ftdiff.formats import Checkpoint
from ftdiff.naming import locate
from ftdiff.naming.matching import pair_names
from ftdiff.tensors import LazyTensor, Rows, numel


@dataclass(frozen=True)
class Lineup:
    """Fine-tunes side by side.

    Attributes
    ----------
    names
        A short name for each fine-tune, all different.
    tuned
        The opened fine-tunes, in the order given.
    lines
        A line for each base tensor that one of them changes.
    base
        The base's source; None without one.
    opened
        The opened base; None without one.
    apart
        By fine-tune, the tensors that could not be lined up, each with the reason.
    saved
        By fine-tune, without a base, the tensors of which the file holds weights and no change.
    """

    names: tuple[str, ...]
    tuned: tuple[Tuned, ...]
    lines: tuple[Line, ...]
    base: str | None = None
    apart: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    opened: Checkpoint | None = None
    saved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def chosen(lineup: Lineup, numbers: Sequence[int]) -> Lineup:
    """Return some of the fine-tunes of a lineup, over all of its lines."""
    names = [lineup.names[i] for i in numbers]
    lines = (
        Line(
            line.address,
            line.base,
            line.shape,
            tuple(line.recipes[i] for i in numbers),
            frozenset(k for k, i in enumerate(numbers) if i in line.unknown),
        )
        for line in lineup.lines
    )
    return replace(
        lineup,
        names=tuple(names),
        tuned=tuple(lineup.tuned[i] for i in numbers),
        lines=tuple(lines),
        apart={name: lineup.apart[name] for name in names},
        saved={name: lineup.saved[name] for name in names},
    )


def place(line: Line) -> dict[str, Any]:
    """Return what a line's tensor is, as the columns of a frame."""
    return {**line.address.columns(), "shape": line.shape, "numel": numel(line.shape)}


def line_up(base: Any | None, tuned: Sequence[Any], *, least: int = 2) -> Lineup:
    """Open a base and its fine-tunes, and line them up.

    Parameters
    ----------
    base
        What `open_checkpoint` takes, or None: the adapters are then lined up by their own names.
    tuned
        What `open_tuned` takes, each.
    least
        How many fine-tunes are needed.

    Raises
    ------
    BadCall
        There are too few, or a whole checkpoint has no base.
    BadFile, BadAdapter, Mismatch
        One of them cannot be opened, or changes no tensor of the base.
    """
    if len(tuned) < least:
        raise BadCall(f"{len(tuned)} given: at least {least} fine-tunes are needed")
    opened = open_base(base)
    opened, fine, like = _planned(opened, open_several(tuned, opened))
    names = labels([one.source for one in fine])
    whole = [name for name, one in zip(names, fine, strict=True) if one.kind == "full"]
    if opened is None and whole:
        raise BadCall(f"{whole[0]}: a whole checkpoint has a change only against its base: --base")
    layouts = {tuple(one.layout.items()) for one in fine}
    if len(layouts) > 1:
        raise Mismatch("the fine-tunes do not have the same layers: some repeat layers of the base")
    followers = Followers(fine, like)
    firsts = [fine[i] for i in followers.firsts]
    plans = [pair(opened, one) for one in firsts] if opened is not None else _alone(firsts)
    saved = [_saved(plan) for plan in plans]
    lines, apart = _lines(plans, firsts, saved)
    lines = tuple(map(followers.line, lines))
    saved, apart = followers.spread(saved), followers.spread(apart)
    still = [i for i in range(len(fine)) if all(line.recipes[i] is None for line in lines)]
    for i in still:
        held = f"holds saved tensors alone ({saved[i][0]}, …), {_UNKNOWN}" if saved[i] else ""
        why = held or "changes no tensor that the others have; one base for all?"
        raise Mismatch(f"{names[i]}: {why}")
    for i, name in enumerate(names):
        others = (line.recipes[:i] + line.recipes[i + 1 :] for line in lines if line.recipes[i])
        if opened is None and len(fine) > 1 and not any(map(any, others)):
            raise Mismatch(f"{name}: no tensor has a name that the others have; give --base")
    source = None if opened is None else opened.source
    return Lineup(
        names,
        fine,
        lines,
        source,
        apart=dict(zip(names, apart, strict=True)),
        opened=opened,
        saved=dict(zip(names, saved, strict=True)),
    )


def _planned(
    base: Checkpoint | None, several: Several
) -> tuple[Checkpoint | None, tuple[Tuned, ...], Sequence[int]]:
    """Return all with the same tensors, where one stores as one what another splits.

    Last is for each the first one that it is planned as.
    """
    like = several.like
    firsts = {i: several.tuned[i] for i in dict.fromkeys(like)}
    found, same = base, [*firsts.values()]
    if base is None:
        same = alone(same)
    else:
        found, same = together(base, same)
    if len(firsts) < len(like) and not all(is_moved(one.recipes, one) for one in same):
        return _planned(base, Several(several.tuned, tuple(range(len(like)))))
    planned = dict(zip(firsts, same, strict=True))
    fine = (following(planned[of], firsts[of], one) if of != i else planned[i]
            for i, (of, one) in enumerate(zip(like, several.tuned, strict=True)))  # fmt: skip
    return found, tuple(fine), like


def _alone(fine: Sequence[Tuned]) -> list[Plan]:
    """Pair adapters with the names of all of them, as the first of them spells each."""
    spelled: dict[str, tuple[int, ...]] = {}
    plans = []
    for one in fine:
        plan = pair(None, one)
        shapes = {change.address.name: change.recipe.shape for change in plan.changes}
        found = pair_names(spelled, shapes)
        spelled |= {name: shape for name, shape in shapes.items() if name not in found}
        addresses = locate([found.get(name, name) for name in shapes])
        changes = zip(addresses.values(), plan.changes, strict=True)
        plans.append(Plan(tuple(Change(at, None, change.recipe) for at, change in changes)))
    return plans


def _lines(
    plans: Sequence[Plan], fine: Sequence[Tuned], saved: Sequence[Collection[str]]
) -> tuple[tuple[Line, ...], list[dict[str, str]]]:
    """Collect the changes of each tensor, over the rows that all of them have."""
    by: dict[str, dict[int, Change]] = {}
    for i, plan in enumerate(plans):
        for change in plan.changes:
            if not isinstance(change.recipe, Beside) and change.address.name not in saved[i]:
                by.setdefault(change.address.name, {})[i] = change
    apart = [_left_out(plan) for plan in plans]
    lines = []
    for name, changes in by.items():
        first = next(iter(changes.values()))
        shape = min((change.recipe.shape for change in changes.values()), key=lambda s: s[:1])
        recipes: list[Recipe | None] = [None] * len(plans)
        for i, change in changes.items():
            fitted = change.recipe.fitted(shape)
            if fitted is None:
                apart[i][name] = f"changes {change.recipe.shape}, the others {shape}"
            recipes[i] = fitted
        unknown = frozenset(
            i
            for i, one in enumerate(fine)
            if recipes[i] is None
            and (one.kind in ("full", "delta") or name in apart[i] or name in saved[i])
        )
        lines.append(Line(first.address, _rows(first, shape), shape, tuple(recipes), unknown))
    return tuple(lines), apart


#: What a file that holds nothing but whole tensors is told, where there is no base.
_UNKNOWN = "whose change is unknown without a base: give --base"


def _saved(plan: Plan) -> tuple[str, ...]:
    """Return what has no change for want of a base, though the file holds its weights."""
    return tuple(c.address.name for c in plan.changes if c.base is None and is_saved(c.recipe))


def _rows(change: Change, shape: tuple[int, ...]) -> LazyTensor | None:
    tensor = change.base
    if tensor is None or tensor.shape == shape:
        return tensor
    if isinstance(tensor, Rows):
        return Rows(tensor.tensor, tensor.first, shape[0])
    return Rows(tensor, 0, shape[0])


def _left_out(plan: Plan) -> dict[str, str]:
    compared = {change.address.name for change in plan.changes}
    return {
        **dict.fromkeys(plan.added, "the base has no such tensor"),
        **dict.fromkeys(plan.removed, "it has no such tensor of the base"),
        **{name: "another shape than the base's" for name in plan.reshaped if name not in compared},
        **plan.unmatched,
    }


def labels(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the shortest ends of paths that tell them apart; a number where none does.

    >>> labels(["runs/a/final", "runs/b/final", "other"])
    ('a/final', 'b/final', 'other')
    """
    parts = [os.path.normpath(source).split(os.sep) for source in sources]
    counts = [Counter("/".join(part[-d:]) for part in parts)
              for d in range(1, max(map(len, parts), default=0) + 1)]  # fmt: skip
    found = []
    for i, part in enumerate(parts):
        ends = ["/".join(part[-d:]) for d in range(1, len(part) + 1)]
        alone = [end for end, count in zip(ends, counts, strict=False) if count[end] == 1]
        found.append(one_line(alone[0]) if alone else f"{one_line(ends[-1])} #{i + 1}")
    return apart_from((), found)


def apart_from(taken: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, each with a number where it is taken already.

    >>> apart_from(["a"], ["a", "b", "b"])
    ('a #2', 'b', 'b #2')
    """
    held, found = {*taken}, []
    for name in names:
        again, new = 2, name
        while new in held:
            new, again = f"{name} #{again}", again + 1
        held.add(new)
        found.append(new)
    return tuple(found)
