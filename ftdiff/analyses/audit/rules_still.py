"""What is the base's: components that were frozen, wholly, in some layers, or in some experts."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ftdiff.analyses.audit.registry import audit_rule, finding
from ftdiff.analyses.audit.rules_loading import absent
from ftdiff.analyses.audit.rules_unmatched import unaccounted
from ftdiff.analyses.finding import Finding, counted, layer_spans
from ftdiff.comparison.aggregation import that_moved
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED, STILL
from ftdiff.naming import component_order

#: Experts that are named one by one.
_SPELT = 4


@audit_rule("partly-frozen", "note")
def partly_frozen(diff: Diff) -> Iterator[Finding]:
    """A component that moved in some layers and is the base's in others was frozen in part."""
    frame = diff.frame[(diff.frame["param"] == "weight") & diff.frame["layer"].notna()]
    frame = frame[~frame["component"].isin(unaccounted(diff)) & ~_lost(diff, frame)]
    frame = frame[(frame["numel"] > 0).fillna(False)]
    for (stack, component), rows in frame.groupby(["stack", "component"], sort=False):
        still = rows[rows["status"].isin(STILL)]
        moved = rows[rows["status"].isin(MOVED)]
        if len(still) and len(moved):
            where = f"{component} of the {stack}" if stack else str(component)
            message = f"{where} {_parted(moved, still)}."
            spans = layer_spans(_whole_numbers(moved, "layer"))
            yield finding("partly-frozen", message, still, component=component, moved=spans)


def _parted(moved: pd.DataFrame, still: pd.DataFrame) -> str:
    """Say in which layers it moved and is the base's; of layers of both, in which experts."""
    those, others = ({*_whole_numbers(part, "layer")} for part in (moved, still))
    both = those & others
    parts = [f"moved in {_layers(those - both)}"] if those - both else []
    parts += [f"is the base's in {_layers(others - both)}"] if others - both else []
    said = " and ".join(parts)
    if not both:
        return said
    return f"{_in_both(moved, still, both)}{f'; it {said}' if said else ''}"


def _in_both(moved: pd.DataFrame, still: pd.DataFrame, layers: set[int]) -> str:
    """Say which experts moved where others did not; how many tensors, where none tells them apart.

    Experts that moved in some of the layers only are counted.
    """
    at = _layers(layers)
    moved, still = (part[part["layer"].isin(layers).fillna(False)] for part in (moved, still))
    ones, rest = (_whole_numbers(part, "expert") for part in (moved, still))
    named = len(ones) and len(rest) and not {*ones} & {*rest}
    if named and moved["expert"].notna().all() and still["expert"].notna().all():
        be = "is" if len(rest) == 1 else "are"
        return f"in {at}: {_experts(ones)} moved, {_experts(rest)} {be} the base's"
    every = counted(len(moved) + len(still), "matrix", "matrices")
    of = f"{every} of experts" if len(ones) else every
    return f"moved in {len(moved):,} of {of} in {at}, where the others are the base's"


def _experts(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"expert {numbers[0]}"
    if len(numbers) > _SPELT:
        return f"experts {layer_spans(numbers)}"
    *first, last = map(str, numbers)
    return f"experts {', '.join(first)} and {last}"


def _layers(numbers: set[int]) -> str:
    return f"layer{'' if len(numbers) == 1 else 's'} {layer_spans([*numbers])}"


def _whole_numbers(rows: pd.DataFrame, column: str) -> list[int]:
    return sorted(map(int, rows[column].dropna().unique()))


@audit_rule("frozen", "note")
def frozen(diff: Diff) -> Iterator[Finding]:
    """A component that is the base's in every layer was frozen, or is nobody's target."""
    frame = diff.frame
    moved = {*map(str, diff.frame[that_moved(diff.columns)]["component"].dropna().unique())}
    still = frame[frame["status"].isin(STILL) & frame["component"].notna()]
    lost = {*still.loc[_lost(diff, still), "component"]}
    still = still[~still["component"].isin([*moved, *unaccounted(diff), *lost])]
    names = component_order(still["component"].unique())
    if moved and names:
        be = "is" if len(names) == 1 else "are"
        message = f"{', '.join(names)} {be} the base's throughout: {counted(len(still), 'tensor')}."
        yield finding("frozen", message, still, components=names, moved=component_order(moved))


def _lost(diff: Diff, frame: pd.DataFrame) -> pd.Series[bool]:
    """Say which rows are of modules that were to be adapted, and are not in the file."""
    lost = absent(diff)
    return frame["tensor"].map(lambda name: str(name).rpartition(".")[0] in lost).astype(bool)
