"""What one side stores as one tensor and the other as several is compared as one.

Where the base has the parts, they are its tensor, rows under rows. Where the base has it as one,
the changes of the parts are one change. No layout is guessed at: rows that lie head by head are put
in order where the configuration says how many heads there are, and otherwise nothing is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from ftdiff.comparison.alignment.fusions import Fusion, fusions
from ftdiff.comparison.alignment.row_order import completed, order
from ftdiff.deltas.recipes import Beside, Recipe, Tuned
from ftdiff.deltas.recipes.arranged import reordered, turned
from ftdiff.deltas.recipes.joined import Part, joined
from ftdiff.deltas.views import Rows, Stack, Turned
from ftdiff.formats import Broken, Checkpoint
from ftdiff.formats.note import Note
from ftdiff.naming.fused import fused_name, leaf
from ftdiff.naming.matching import pair_names
from ftdiff.tensors import LazyTensor, matrix_shape

#: The codes of notes: tensors that were compared as one, and some that could not be.
JOINED, LAYOUT_UNKNOWN = "joined", "fused-layout-unknown"


def join(base: Checkpoint, tuned: Tuned) -> tuple[Checkpoint, Tuned, tuple[Note, ...]]:
    """Return both sides with one tensor wherever one of them has one, and notes on it."""
    base, tuned, here = join_base(base, tuned)
    base, tuned, there = _join_tuned(base, tuned)
    return base, tuned, (*here, *there)


def join_base(base: Checkpoint, tuned: Tuned) -> tuple[Checkpoint, Tuned, tuple[Note, ...]]:
    """Make one tensor of parts that the base stores apart, and the fine-tune as one."""
    strangers = _strangers(base, tuned)
    if not strangers:
        return base, tuned, ()
    config = tuned.config if tuned.kind == "full" and tuned.config else base.config
    free = {n: t.shape for n, t in base.tensors.items() if n not in tuned.recipes}
    made: dict[str, tuple[Fusion, LazyTensor]] = {}
    lost: list[Fusion] = []
    for fusion in fusions(strangers, free, config, whole=True):
        parts = [base.tensors[part] for part in fusion.there]
        if not _alike(parts):
            continue
        heights = [part.shape[0] for part in parts]
        runs = order(fusion.layout, heights, config)
        if runs is None:
            lost.append(fusion)
            continue
        rows = [Rows(parts[run.part], run.first, run.count) for run in runs]
        whole = Stack(tuple(parts) if len(runs) == len(parts) else tuple(rows))
        fitted = _as(whole, strangers[fusion.name].shape)
        name = fused_name(fusion.there, fusion.name)
        if fitted is not None and name not in base.tensors:
            made[name] = fusion, fitted
    notes = _notes([one for one, _ in made.values()], lost, ("the fine-tune", "the base"))
    if not made:
        return base, tuned, notes
    renamed = {fusion.name: name for name, (fusion, _) in made.items()}
    tensors = _in_place(base.tensors, made)
    return replace(base, tensors=tensors), _renamed(tuned, renamed), notes


def _join_tuned(base: Checkpoint, tuned: Tuned) -> tuple[Checkpoint, Tuned, tuple[Note, ...]]:
    """Make one change of those of parts that the base stores as one tensor."""
    strangers = _strangers(base, tuned)
    if not strangers:
        return base, tuned, ()
    free = [name for name in base.tensors if name not in tuned.recipes]
    shapes = {name: recipe.shape for name, recipe in strangers.items()}
    made: dict[str, Recipe] = {}
    done: list[Fusion] = []
    lost: list[Fusion] = []
    still: dict[str, None] = {}
    for fusion in fusions(free, shapes, base.config, whole=tuned.kind in ("full", "delta")):
        tensor = base.tensors[fusion.name]
        given = [None if part is None else strangers[part] for part in fusion.parts]
        fitted = _heights(tensor, given)
        if fitted is None:
            continue
        heights, shape = fitted
        runs = order(fusion.layout, heights, base.config)
        if runs is None:
            lost.append(fusion)
            continue
        parts = [Part(recipe, rows) for recipe, rows in zip(given, heights, strict=True)]
        tops = [0, *accumulate(heights)]
        recipe = joined(parts, shape)
        if len(runs) > len(heights):
            recipe = reordered(recipe, [(tops[run.part] + run.first, run.count) for run in runs])
        if shape != tensor.shape:
            recipe = turned(recipe)
        made[fusion.name] = recipe
        done.append(fusion)
        for called, part, first, last in zip(
            fusion.called, fusion.parts, tops, tops[1:], strict=False
        ):
            if part is None:
                still[f"{first}–{last - 1} of {leaf(fusion.name)} ({leaf(called)})"] = None
    notes = _notes(done, lost, ("the base", "the fine-tune"), list(still))
    return base, _with_joined(tuned, done, made) if made else tuned, notes


def _strangers(base: Checkpoint, tuned: Tuned) -> dict[str, Recipe]:
    """Return the recipes that change no tensor of the base by their name."""
    mine = {n: r for n, r in tuned.recipes.items() if not isinstance(r, Beside)}
    unknown = [name for name in mine if name not in base.tensors]
    if not unknown:
        return {}
    found = pair_names(
        {name: tensor.shape for name, tensor in base.tensors.items()},
        {name: recipe.shape for name, recipe in mine.items()},
    )
    return {name: mine[name] for name in unknown if name not in found}


def _alike(parts: Sequence[LazyTensor]) -> bool:
    """Say whether tensors can lie one under the other."""
    if any(isinstance(part, Broken) or not part.shape for part in parts):
        return False
    return len({(part.dtype, part.shape[1:]) for part in parts}) == 1


def _as(tensor: LazyTensor, shape: tuple[int, ...]) -> LazyTensor | None:
    """Return a tensor in a shape that a file spells it in, if it is that of a matrix turned."""
    if matrix_shape(tensor.shape) == matrix_shape(shape):
        return tensor
    return Turned(tensor) if tensor.shape[::-1] == shape else None


def _heights(
    tensor: LazyTensor, given: Sequence[Recipe | None]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the rows of each part of a tensor, and its shape as they are spelled.

    None where they do not fit. The shape is the tensor's, or its reverse where it is stored turned.
    """
    shapes = [recipe.shape for recipe in given if recipe is not None]
    if isinstance(tensor, Broken) or not tensor.shape or not all(shapes):
        return None
    if len({matrix_shape(shape)[1] for shape in shapes}) > 1:
        return None
    columns = matrix_shape(shapes[0])[1]
    known = [None if recipe is None else recipe.shape[0] for recipe in given]
    for shape in (tensor.shape, *([tensor.shape[::-1]] if len(tensor.shape) == 2 else [])):
        if matrix_shape(shape)[1] == columns:
            found = completed(shape[0], known)
            if found is not None:
                return found, shape
    return None


def _in_place(
    tensors: Mapping[str, LazyTensor], made: Mapping[str, tuple[Fusion, LazyTensor]]
) -> dict[str, LazyTensor]:
    """Return the tensors with the joined ones where the first of their parts stood."""
    of = {part: name for name, (fusion, _) in made.items() for part in fusion.there}
    found: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        if name in of:
            found[of[name]] = made[of[name]][1]
        else:
            found[name] = tensor
    return found


def _renamed(tuned: Tuned, names: Mapping[str, str]) -> Tuned:
    return replace(
        tuned,
        recipes={names.get(name, name): recipe for name, recipe in tuned.recipes.items()},
        scalings={names.get(name, name): origin for name, origin in tuned.scalings.items()},
        unmatched={name: why for name, why in tuned.unmatched.items() if name not in names},
    )


def _with_joined(tuned: Tuned, done: Iterable[Fusion], made: Mapping[str, Recipe]) -> Tuned:
    """Return a fine-tune with one recipe for several."""
    of = {part: fusion.name for fusion in done for part in fusion.there}
    recipes: dict[str, Recipe] = {}
    for name, recipe in tuned.recipes.items():
        recipes[of.get(name, name)] = made[of[name]] if name in of else recipe
    origins: dict[str, dict[str, None]] = {}
    for name, origin in tuned.scalings.items():
        origins.setdefault(of.get(name, name), {})[origin] = None
    return replace(
        tuned,
        recipes=recipes,
        scalings={name: "; ".join(told) for name, told in origins.items()},
        unmatched={name: why for name, why in tuned.unmatched.items() if name not in of},
    )


def _notes(
    done: Sequence[Fusion],
    lost: Sequence[Fusion],
    whose: tuple[str, str],
    still: Sequence[str] = (),
) -> tuple[Note, ...]:
    """Say what was joined: `whose` the fused tensors are, and the parts."""
    notes = []
    if done:
        fused, parts = _leaves(one.name for one in done), _leaves(n for o in done for n in o.called)
        text = (
            f"{whose[0]} stores {fused} where {whose[1]} stores {parts}: {len(done)} tensors were "
            "compared as one each"
        )
        if still:
            text += f"; nothing changes rows {', '.join(still[:4])}{', …' if still[4:] else ''}"
        notes.append(Note(JOINED, text, tensors=[one.name for one in done], still=list(still)))
    if lost:
        text = (
            f"{whose[0]} stores {_leaves(one.name for one in lost)} where {whose[1]} stores "
            f"{_leaves(n for one in lost for n in one.called)}, and nothing says in which order the "
            "rows lie (model_type and heads in config.json): not compared"
        )
        notes.append(Note(LAYOUT_UNKNOWN, text, tensors=[one.name for one in lost]))
    return tuple(notes)


def _leaves(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(map(leaf, names)))
