"""Which columns of a matrix are drawn, in which order, and what is said of those that are not."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from ftdiff.errors import BadCall
from ftdiff.naming import component_order
from ftdiff.naming.projections import column_order, is_projection
from ftdiff.plots.elements.labels import component_of, distinct
from ftdiff.plots.heatmaps.matrix import Matrix


def renamed(matrix: Matrix) -> Matrix:
    """Return the same with every column called as a component is.

    Raises
    ------
    BadCall
        Two columns then have one name.
    """
    names = [component_of(name) for name in matrix.values]
    if len({*names}) < len(names):
        raise BadCall(f"columns that differ by a space only: {', '.join(map(str, matrix.values))}")
    return replace(
        matrix,
        values=matrix.values.set_axis(names, axis=1),
        doubtful=matrix.doubtful.set_axis(names, axis=1),
    )


def chosen(matrix: Matrix, plain: bool, others: bool | None) -> Matrix:
    """Keep the projections in their order, maybe the others, and name what is left out.

    Parameters
    ----------
    matrix
        What there is, with components as columns.
    plain
        It is a matrix from elsewhere: its own columns and their order count.
    others
        Whether what is no projection follows. By default it does in a plain matrix, and where
        there are no projections or none of them moved.

    Raises
    ------
    BadCall
        Nothing would be left.
    """
    values = matrix.values
    names = list(values.columns)
    known: list[Hashable] = [name for name in column_order(names) if is_projection(name)]
    rest = [name for name in (names if plain else component_order(names)) if name not in known]
    empty = not values[known].notna().to_numpy().any()
    if others or (others is None and (plain or empty)):
        return matrix.only([*known, *rest])
    if empty:
        raise BadCall(f"no projection to draw; with others=True there are: {', '.join(rest)}")
    hidden = [n for n in rest if values[n].notna().any() and not n.startswith("norm.")]
    notes = (f"not shown: {listed(hidden)} (others=True)",) if hidden else ()
    return replace(matrix.only(known), notes=(*matrix.notes, *notes))


def listed(names: list[str], most: int = 4) -> str:
    """Name a few columns, and say how many more there are."""
    more = [f"{len(names) - most} more"] if len(names) > most + 1 else []
    return ", ".join([*distinct(names[:most] if more else names), *more])
