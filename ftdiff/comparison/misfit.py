"""Why nothing of a fine-tune fits a base: names, shapes, or names that fit several tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ftdiff.deltas.recipes import Tuned
from ftdiff.formats import Checkpoint
from ftdiff.naming.matching import Spellings

Shape = tuple[int, ...]

#: Into how many parts tensors are cut that are held by several devices.
_PARTS = (2, 4, 8, 16, 32)
_LEAST = 2


def nothing_at_all(tuned: Tuned) -> str:
    """Say in one line why a fine-tune has no change: it is empty, or nothing of it is read."""
    if not tuned.unmatched:
        return f"{tuned.source}: empty: it holds no tensor that could be compared"
    first, why = next(iter(tuned.unmatched.items()))
    return f"{tuned.source}: nothing of it is read: {first}: {why}"


def nothing_in_common(base: Checkpoint, tuned: Tuned) -> str:
    """Say in one line why no tensor could be paired, by a witness: the same name, or the nearest.

    Parameters
    ----------
    base, tuned
        The two sides; none of their tensors fit.
    """
    shapes = {name: tensor.shape for name, tensor in base.tensors.items()}
    wanted = {name: recipe.shape for name, recipe in tuned.recipes.items()}
    spellings = Spellings(shapes)
    found = {name: spellings.find(name) for name in wanted}
    both = {name: same for name, same in found.items() if same is not None}
    count = len(wanted)
    start = f"{tuned.source}: none of its {count} tensors fits one of {base.source}: "
    if both:
        return start + _of_shapes(both, wanted, shapes)
    return start + _of_names(wanted, shapes)


def _of_shapes(
    both: Mapping[str, str], wanted: Mapping[str, Shape], shapes: Mapping[str, Shape]
) -> str:
    """Say how the shapes of tensors differ whose names are the same."""
    every = f"all {len(both)}" if len(both) == len(wanted) else f"{len(both)} of {len(wanted)}"
    name, same = next(iter(both.items()))
    said = (
        f"{every} names fit, no shape does: {same!r} is {_times(wanted[name])} and there "
        f"{_times(shapes[same])}"
    )
    parts = {_part(wanted[name], shapes[same]) for name, same in both.items()}
    if len(parts) == 1 and None not in parts:
        (part,) = parts
        return f"{said}, 1/{part} of it each; were tensor-parallel shards gathered before saving?"
    if any(0 in wanted[name] for name in both):
        return f"{said}; were shards gathered before saving (ZeRO-3)?"
    return f"{said}; is this the right base?"


def _part(found: Shape, whole: Shape) -> int | None:
    """Return 2 where a shape is a half of another, along one side; None where it is no part."""
    if len(found) != len(whole):
        return None
    differing = [(a, b) for a, b in zip(found, whole, strict=True) if a != b]
    if len(differing) != 1:
        return None
    ((a, b),) = differing
    return next((part for part in _PARTS if a * part == b), None)


def _of_names(wanted: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> str:
    """Say which name has no counterpart, and what is nearest to it; or that there are several."""
    ends = {name: _ending(name, shapes) for name in list(wanted)[:100]}
    name = max(ends, key=lambda one: ends[one][0], default=next(iter(wanted)))
    shared, alike = ends.get(name, (0, []))
    fitting = [one for one in alike if shapes[one] == wanted[name]]
    if shared >= _LEAST and len(fitting) > 1:
        return f"{name!r} could be {fitting[0]!r} or {fitting[1]!r}; is this the right base?"
    near = alike[0] if alike else next(iter(shapes), "nothing")
    return f"no name fits: {name!r}, where the nearest is {near!r}; is this the right base?"


def _ending(name: str, names: Iterable[str]) -> tuple[int, list[str]]:
    """Return with how many last words other names agree at most, and which do."""
    words = name.split(".")[::-1]
    best, alike = 0, []
    for other in names:
        theirs = other.split(".")[::-1]
        pairs = zip(words, theirs, strict=False)
        shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(words), len(theirs)))
        if shared > best:
            best, alike = shared, [other]
        elif shared == best and best:
            alike.append(other)
    return best, alike


def _times(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "scalar"
