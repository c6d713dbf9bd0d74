"""The tree of a lineage: a leaf for each model, branches as long as what was changed along them."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from ftdiff.analyses.lineage_result import Lineage
from ftdiff.analyses.lineage_tree import Tree
from ftdiff.errors import BadCall
from ftdiff.plots.elements.axes import FAINT, FONT, INK, SMALL, new_figure
from ftdiff.plots.elements.labels import shown
from ftdiff.plots.elements.titles import Title, titled

#: The model that is asked for, and those that the tree does not fit.
_ASKED, _BENT = "#1b6ca8", "#b3452c"


def lineage(
    found: Lineage, *, ax: Axes | None = None, title: Title = None, bare: bool = False
) -> Axes:
    """Draw the tree of a lineage of four models or more.

    Parameters
    ----------
    found
        What `ftdiff.lineage` found.
    ax
        Where to draw; by default a figure of its own.
    title, bare
        Text above; whether to drop every label.

    Raises
    ------
    BadCall
        It has no tree: there were fewer than four models.

    Notes
    -----
    A branch is as long as what was changed along it, over the weights' norm. Lengths from tip to
    tip add up as squares do. It starts at the leaf whose own branch is the shortest, which need be
    no ancestor.
    """
    if found.tree is None:
        raise BadCall("nothing to draw: a tree needs four models of one training")
    tree = found.tree
    if ax is None:
        ax = new_figure((5.0, 0.9 + 0.27 * len(tree.models))).add_subplot()
    at = _places(tree)
    for x, y, before in at.values():
        if before is not None:
            start, level, _ = at[before]
            ax.plot([start, start, x], [level, y, y], color=INK, lw=1.1, solid_capstyle="round")
    wide = max((x for x, _, _ in at.values()), default=0.0) or 1.0
    for i, name in enumerate(tree.models):
        x, y, _ = at[i]
        colour = _ASKED if i == 0 else _BENT if i in tree.marked else INK
        ax.plot([x], [y], "o", color=colour, ms=4)
        if not bare:
            bent = f"  δ {tree.deltas[i]:.2f}" if i in tree.marked else ""
            ax.annotate(
                shown(name, 28) + bent, (x, y), (5, 0), textcoords="offset points", va="center",
                fontsize=FONT, color=colour, parse_math=False,
            )  # fmt: skip
    ax.set(xlim=(-0.03 * wide, 1.45 * wide), ylim=(len(tree.models) - 0.4, -0.6), yticks=[])
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(labelsize=SMALL, colors=FAINT, labelbottom=not bare)
    ax.locator_params(axis="x", nbins=5)
    if not bare:
        ax.set_xlabel("change / norm along each branch", fontsize=FONT, color=INK)
        own = f"lineage of {len(tree.models)} models"
        ax.set_title(titled(title, own), fontsize=FONT + 1, color=INK, parse_math=False)
    return ax


def _places(tree: Tree) -> dict[int, tuple[float, float, int | None]]:
    """Return where each node is drawn, and after which: leaves in rows, others between theirs."""
    near = tree.neighbours
    found: dict[int, tuple[float, float, int | None]] = {}
    rows = iter(range(len(tree.models)))

    def put(node: int, before: int | None, x: float) -> float:
        own = float(next(rows)) if node < len(tree.models) else None
        below = [
            put(one, node, x + math.sqrt(max(length, 0.0)))
            for one, length in near[node]
            if one != before
        ]
        y = own if own is not None else sum(below) / len(below)
        found[node] = (x, y, before)
        return y

    put(tree.root, None, 0.0)
    return found
