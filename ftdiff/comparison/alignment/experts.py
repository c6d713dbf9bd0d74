"""Experts that one side stacks in one tensor, and the other stores one by one, meet one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ftdiff.comparison.alignment import expert_views
from ftdiff.comparison.alignment.expert_views import Fit, Layout, Shape
from ftdiff.comparison.alignment.fusion_notes import LAYOUT_UNKNOWN
from ftdiff.comparison.alignment.renamed import under
from ftdiff.deltas.recipes import Beside, Recipe, Replaced, StoredDelta, Tuned
from ftdiff.formats import Broken, Checkpoint
from ftdiff.formats.note import Note
from ftdiff.naming import experts
from ftdiff.tensors import LazyTensor

#: The code of a note on experts that were compared one by one.
EXPERTS = "experts-apart"
#: No layer has more experts.
_MOST = 1 << 14


@dataclass(frozen=True)
class Match:
    """A stack of one side, and the parts of each expert on the other.

    Attributes
    ----------
    stack
        The stacked tensor.
    parts
        The other side's names, of each part, in the order of the rows.
    fit
        What the shapes tell of how they lie.
    count
        How many experts there are.
    """

    stack: experts.Stack
    parts: tuple[experts.Apart, ...]
    fit: Fit
    count: int

    def views(self, tensor: LazyTensor, layout: Layout) -> Iterator[tuple[int, int, LazyTensor]]:
        """Yield each part of each expert's, and the numbers of the expert and the part."""
        for expert in range(self.count):
            for place in range(len(self.parts)):
                view = expert_views.part(tensor, expert, place, len(self.parts), layout)
                yield expert, place, view


def with_experts(base: Checkpoint, tuned: Tuned) -> tuple[Checkpoint, Tuned, tuple[Note, ...]]:
    """Take the stacks of one side apart where the other side has each expert's own tensors."""
    tuned, turned = _turned(base, tuned)
    mine = {name: recipe.shape for name, recipe in _changes(tuned) if name not in base.tensors}
    if not mine:
        return base, tuned, turned
    theirs = {
        name: tensor.shape
        for name, tensor in base.tensors.items()
        if name not in tuned.recipes and not isinstance(tensor, Broken)
    }
    base, tuned, of_base = _base_apart(base, tuned, theirs, mine)
    tuned, of_tuned = _tuned_apart(base, tuned, theirs, mine)
    return base, tuned, (*turned, *of_base, *of_tuned)


def _turned(base: Checkpoint, tuned: Tuned) -> tuple[Tuned, tuple[Note, ...]]:
    """Turn the stacks of a fine-tune that the base stores as inputs × outputs, or the other way.

    Their sides tell; of square ones those of the others in the file, which lie alike.
    """
    held = {n: seen for n, r in tuned.recipes.items() if (seen := _seen(r)) is not None}
    mine = experts.stacks(n for n, seen in held.items() if len(seen.tensor.shape) == 3)
    theirs = experts.stacks(base.tensors) if mine else {}
    pairs: dict[str, str] = {}
    square, plain = set(), False
    for path, other in experts.same_paths(mine, theirs).items() if theirs else ():
        known = {(one.word, one.param): one.name for one in theirs[other]}
        for one in mine[path]:
            name = known.get((one.word, one.param))
            if name is None:
                continue
            here, there = held[one.name].tensor.shape, base.tensors[name].shape
            if there == (here[0], here[2], here[1]):
                pairs[one.name] = name
                square |= {one.name} if here[1] == here[2] else set()
            plain = plain or (here == there and here[1] != here[2])
    if len(square) == len(pairs):
        return tuned, ()
    pairs = {n: name for n, name in pairs.items() if not plain or n not in square}
    made = {n: held[n].of(expert_views.turned(held[n].tensor)) for n in pairs}
    were = "1 stack was" if len(pairs) == 1 else f"{len(pairs)} stacks were"
    text = (
        f"the fine-tune stacks the experts in {_leaves(pairs)} with each matrix turned, as their "
        f"sides say: {were} turned back"
    )
    note = Note(EXPERTS, text, tensors=[*pairs.values()], ways=["turned"])
    return under(replace(tuned, recipes={**tuned.recipes, **made}), pairs, {}), (note,)


def _changes(tuned: Tuned) -> Iterator[tuple[str, Recipe]]:
    yield from ((n, r) for n, r in tuned.recipes.items() if not isinstance(r, Beside))


def _base_apart(
    base: Checkpoint, tuned: Tuned, theirs: Mapping[str, Shape], mine: Mapping[str, Shape]
) -> tuple[Checkpoint, Tuned, tuple[Note, ...]]:
    found = matches(theirs, mine)
    if not found:
        return base, tuned, ()
    known, lost = _laid(found, _model_type(base.config, tuned.config))
    tensors: dict[str, LazyTensor] = {}
    names: dict[str, str] = {}
    for name, tensor in base.tensors.items():
        if name not in known:
            tensors[name] = tensor
            continue
        match, layout = known[name]
        for expert, place, view in match.views(tensor, layout):
            part = match.parts[place]
            new = match.stack.path + part.inner.format(expert)
            tensors[new] = view
            if expert in part.names:
                names[part.names[expert]] = new
    notes = _notes(known, lost, ("the base", "the fine-tune"))
    return replace(base, tensors=tensors), under(tuned, names, {}), notes


def _tuned_apart(
    base: Checkpoint, tuned: Tuned, theirs: Mapping[str, Shape], mine: Mapping[str, Shape]
) -> tuple[Tuned, tuple[Note, ...]]:
    stored = {name: shape for name, shape in mine.items() if _seen(tuned.recipes.get(name))}
    found = matches(stored, theirs)
    if not found:
        return tuned, ()
    known, lost = _laid(found, _model_type(tuned.config, base.config))
    recipes: dict[str, Recipe] = {}
    for name, recipe in tuned.recipes.items():
        make = _seen(recipe)
        if name not in known or make is None:
            recipes[name] = recipe
            continue
        match, layout = known[name]
        for expert, place, view in match.views(make.tensor, layout):
            recipes[match.parts[place].at(expert)] = make.of(view)
    return replace(tuned, recipes=recipes), _notes(known, lost, ("the fine-tune", "the base"))


@dataclass(frozen=True)
class _Seen:
    """What a file stores of a change, and the same change of a view of it."""

    tensor: LazyTensor
    of: Callable[[LazyTensor], Recipe]


def _seen(recipe: Recipe | None) -> _Seen | None:
    if isinstance(recipe, Replaced):
        return _Seen(recipe.tensor, Replaced)
    if isinstance(recipe, StoredDelta) and recipe.sides is None:
        return _Seen(recipe.tensor, StoredDelta)
    return None


def matches(stacked: Mapping[str, Shape], apart: Mapping[str, Shape]) -> list[Match]:
    """Return the stacks whose experts another file stores one by one, by names and shapes."""
    stacks, words = experts.stacks(stacked), experts.apart(apart)
    found = []
    for path, other in experts.same_paths(stacks, words).items() if stacks and words else ():
        for stack in stacks[path]:
            shape = stacked[stack.name]
            parts = experts.parts(stack, words[other])
            shapes = {apart[name] for part in parts for name in part.names.values()}
            most = max((number for part in parts for number in part.names), default=0)
            if len(shapes) != 1 or not shape or not most < shape[0] <= _MOST:
                continue
            fit = expert_views.fit(shape, shapes.pop(), len(parts))
            if fit is not None:
                found.append(Match(stack, parts, fit, shape[0]))
    return found


def _laid(
    found: list[Match], model_type: str
) -> tuple[dict[str, tuple[Match, Layout]], list[Match]]:
    """Return matches by the name of the stack, each with its layout, and those without one."""
    known: dict[str, tuple[Match, Layout]] = {}
    lost = []
    fits = [match.fit for match in found]
    for match in found:
        layout = expert_views.layout(match.fit, fits, model_type)
        if layout is None:
            lost.append(match)
        else:
            known[match.stack.name] = match, layout
    return known, lost


def _model_type(*configs: Mapping[str, Any]) -> str:
    kinds = (config.get("model_type") for config in configs)
    return next((kind for kind in kinds if isinstance(kind, str) and kind), "")


def _notes(
    known: Mapping[str, tuple[Match, Layout]], lost: list[Match], whose: tuple[str, str]
) -> tuple[Note, ...]:
    notes = []
    if known:
        held = [match for match, _ in known.values()]
        ways = _ways(layout for _, layout in known.values())
        text = (
            f"{whose[0]} stacks the experts in {_words(held)}"
            f"{' (' + ', '.join(ways) + ')' if ways else ''}, {whose[1]} stores each by itself: "
            f"{'1 stack was' if len(held) == 1 else f'{len(held)} stacks were'} compared expert by "
            "expert"
        )
        notes.append(Note(EXPERTS, text, tensors=[*known], ways=ways))
    if lost:
        text = (
            f"{whose[0]} stacks the experts in {_words(lost)}, {whose[1]} stores each by itself, "
            "and nothing says how they lie in the stack (model_type in config.json): not compared"
        )
        notes.append(Note(LAYOUT_UNKNOWN, text, tensors=[match.stack.name for match in lost]))
    return tuple(notes)


def _ways(layouts: Iterable[Layout]) -> list[str]:
    held = [*layouts]
    turned = ["turned"] if any(one.turned for one in held) else []
    return [*turned, *(["gate and up in turns"] if any(one.interleaved for one in held) else [])]


def _leaves(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in names))


def _words(held: Iterable[Match]) -> str:
    return ", ".join(dict.fromkeys(match.stack.word for match in held))
