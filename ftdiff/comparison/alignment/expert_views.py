"""One expert's own matrix in the tensor that stacks all of them, seen where it lies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ftdiff.naming.experts import is_interleaved, is_turned
from ftdiff.tensors import LazyTensor, Rows, Strided, numel
from ftdiff.tensors.arranged import Reshaped, Stack
from ftdiff.tensors.turned import Turned

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How the matrices of experts lie in a stack: as the model has them, or turned; in turns."""

    turned: bool = False
    interleaved: bool = False


@dataclass(frozen=True)
class Fit:
    """How a stack may be made of parts of one shape, as both shapes tell.

    Attributes
    ----------
    parts
        How many parts an expert has in it.
    plain, turned
        Whether it fits as the model has it, and as its transpose.
    """

    parts: int
    plain: bool
    turned: bool


def fit(stack: Shape, part: Shape, parts: int) -> Fit | None:
    """Say how a stack is made of parts; None where it is not."""
    if 0 in stack or len(stack) != len(part) + 1 or len(part) not in (1, 2):
        return None
    wanted = (parts * part[0], *part[1:])
    found = Fit(parts, stack[1:] == wanted, len(part) == 2 and stack[1:] == wanted[::-1])
    return found if found.plain or found.turned else None


def layout(fit: Fit, others: Iterable[Fit], model_type: str) -> Layout | None:
    """Return how a stack lies; None where nothing tells.

    Parameters
    ----------
    fit
        What its own shape tells.
    others
        What those of the others in its file tell: they lie alike.
    model_type
        Of the model that stacks; "" where it is not known.
    """
    told = {one.turned for one in others if one.plain != one.turned}
    turned = fit.turned
    if fit.plain and fit.turned:
        if not model_type and len(told) != 1:
            return None
        turned = told == {True} if len(told) == 1 else is_turned(model_type)
    if fit.parts > 1 and not model_type and (turned or True in told):
        return None  # both orders are in use there
    return Layout(turned, fit.parts > 1 and is_interleaved(model_type))


def part(stack: LazyTensor, expert: int, place: int, parts: int, layout: Layout) -> LazyTensor:
    """Return a part of one expert's in a stack, as a tensor of its own."""
    _, height, *rest = stack.shape
    if not layout.turned:
        width, each = numel((*rest,)), height // parts
        flat = Reshaped(stack, (stack.shape[0] * height, *rest))
        if not layout.interleaved:
            return Rows(flat, expert * height + place * each, each)
        entries = Reshaped(stack, (numel(stack.shape),))
        first = (expert * height + place) * width
        run = Rows(entries, first, (height - place) * width)
        return Strided(run, (each, *rest), (parts * width, *([1] if rest else [])))
    (width,) = rest
    each = width // parts
    matrix = Rows(Reshaped(stack, (stack.shape[0] * height, width)), expert * height, height)
    if layout.interleaved:
        return Turned(matrix, place, parts, each)
    return Turned(matrix, place * each, 1, each)


def turned(stack: LazyTensor) -> LazyTensor:
    """Return a stack with each expert's matrix as its transpose."""
    count, height, width = stack.shape
    rows = Reshaped(stack, (count * height, width))
    each = tuple(Turned(Rows(rows, e * height, height)) for e in range(count))
    return Reshaped(Stack(each), (count, width, height))
