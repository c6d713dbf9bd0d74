"""Which cells of a page's maps each finding speaks of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from ftdiff.analyses.finding import Finding
from ftdiff.errors import one_line
from ftdiff.reports.first_screen import Told
from ftdiff.reports.maps import Map


def marked(
    found: Iterable[Finding | Told], drawn: Sequence[Map], of: int = 0
) -> list[tuple[Finding | Told, str]]:
    """Return each finding with its cells as the page numbers them: "map:cell", apart by spaces.

    Parameters
    ----------
    found
        What was found; what is merely said has no cells.
    drawn
        The maps of the page; what is not drawn there cannot be pointed at.
    of
        Of which of the page's diffs it was found.
    """
    places: dict[tuple[str, Hashable, str], list[str]] = defaultdict(list)
    for k, one in enumerate(drawn):
        if one.of != of:
            continue
        for i, layer in enumerate(one.numbers or one.layers):
            for j, component in enumerate(one.components):
                places[one.stack, layer, component].append(f"{k}:{i * len(one.components) + j}")

    def cells(one: Finding | Told) -> str:
        if isinstance(one, Told):
            return ""
        stack = one_line(one.evidence.get("stack", ""))
        named = (places.get((stack, layer, one_line(name)), ()) for layer, name in one.cells)
        return " ".join(place for cells in named for place in cells)

    return [(one, cells(one)) for one in found]
