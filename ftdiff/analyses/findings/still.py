"""What did not move: layers that are the base's throughout, and cells that a grid does not have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ftdiff.analyses.finding import Finding, layer_spans
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.analyses.layer_map import moved_layers
from ftdiff.comparison.frame import Columns, among, rows_at, there
from ftdiff.comparison.grid import Grid
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED, PAIRED, STILL, UNTOUCHED


@rule("layers", kind="context", of="diff")
def layers(diff: Diff) -> Iterator[Finding]:
    """Say which layers of the base the tuned ones are, where numbers do not tell."""
    for moved in moved_layers(diff):
        told = {name: value for name, value in moved.data.items() if name != "code"}
        yield Finding("layers", "note", moved.message, evidence(**told))


@rule("still-layers", kind="context", of="diff")
def still_layers(diff: Diff) -> Iterator[Finding]:
    """Say which whole layers are the base's, where others moved."""
    rows = _considered(diff)
    for stack in dict.fromkeys(rows["stack"].tolist()):
        mine = rows_at(rows, rows["stack"] == stack)
        layers, status = mine["layer"], mine["status"]
        moved = {*layers[among(status, MOVED)].tolist()}
        other = {*layers[~among(status, STILL)].tolist()}
        every = {*layers[among(status, PAIRED)].tolist()}
        still = sorted(int(layer) for layer in every - other)
        if not moved or not still:
            continue
        where = f" of the {stack}" if stack else ""
        message = (
            f"Layer{'s' if len(still) > 1 else ''} {layer_spans(still)} of {len(every)}{where} "
            "did not move."
        )
        found = evidence(layers=still, of=len(every), stack=stack)
        yield Finding("still-layers", "note", message, found)


def has_still_matrices(grid: Grid) -> bool:
    """Whether a matrix of the stack's layers, or one that an adapter targets, did not move."""
    return grid.diff is not None and bool(
        among(_matrices(_considered(grid.diff), grid.stack)["status"], STILL).any()
    )


def layers_of(grid: Grid) -> int:
    """Return in how many layers there are matrices on both sides, moved or not."""
    if grid.diff is None:
        return len(grid.values)
    rows = _matrices(_placed(grid.diff), grid.stack)
    return len({*rows["layer"][among(rows["status"], PAIRED)].tolist()})


def _considered(diff: Diff) -> Columns:
    """Return what is in a layer; of an adapter, what it targets."""
    rows = _placed(diff)
    adapter = diff.about.get("kind") != "full"
    return rows_at(rows, rows["status"] != UNTOUCHED) if adapter else rows


def _placed(diff: Diff) -> Columns:
    return rows_at(diff.columns, there(diff.columns["layer"]) & there(diff.columns["stack"]))


def _matrices(rows: Columns, stack: str) -> Columns:
    sides = [shape is not None and len(shape) > 1 for shape in rows["shape"]]
    mine = (rows["stack"] == stack) & (rows["param"] == "weight")
    return rows_at(rows, np.array(sides, bool) & mine)
