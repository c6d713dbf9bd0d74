"""What probes show, in sentences with their statistic and what chance gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ftdiff.analyses.finding import Finding, counted, gravest_first, listed, speaks_for
from ftdiff.analyses.probing.result import CHANCE, Probe
from ftdiff.comparison.frame import records
from ftdiff.numbers import signed

#: Rows without a position are spoken of from this share on.
_ABSENT = 0.05
#: What tells cells of a model apart.
_KEY = ("site", "stack", "layer", "position")


@speaks_for(Probe)
def findings(found: Probe) -> list[Finding]:
    """Return what is worth saying, alarms first."""
    cells = records(found.frame)
    said = [*_best(found, cells), *_changed(found, cells), *_absent(found)]
    return gravest_first([*said, *_without_null(found, cells)])


def _best(found: Probe, cells: list[dict[str, Any]]) -> Iterator[Finding]:
    """Say of each model where the label is read best, or that it is read nowhere."""
    for side in dict.fromkeys(cell["model"] for cell in cells):
        known = [c for c in cells if c["model"] == side and c["p_family"] is not None]
        if not known:
            continue
        best = max(known, key=lambda cell: float(cell["auroc"]))
        told = [cell for cell in known if not cell["chance"]]
        whose = "" if found.about.get("tuned") is None else f" of the {side}"
        value = f"AUROC {best['auroc']:.3f} [{best['auroc_low']:.3f}, {best['auroc_high']:.3f}]"
        evidence = {
            **_place(best),
            **{name: best[name] for name in ("auroc", "auroc_low", "auroc_high", "p", "p_family")},
            "cells": len(known),
            "told_from_chance": len(told),
            "null": "labels permuted for all cells at once",
            "threshold": CHANCE,
        }
        if told:
            are = "is" if len(told) == 1 else "are"
            message = (
                f"The label is read best{whose} at {_where(best)}: {value}, p = "
                f"{best['p_family']:.2g} over all cells; {len(told)} of "
                f"{counted(len(known), 'cell')} {are} told from chance"
            )
        else:
            message = (
                f"The label is read nowhere{whose}: the best of {counted(len(known), 'cell')} is "
                f"{_where(best)} with {value}, and permuted labels do as well with p = "
                f"{best['p_family']:.2g} over all cells"
            )
        yield Finding("read-best" if told else "chance-throughout", "note", message, evidence)


def _changed(found: Probe, cells: list[dict[str, Any]]) -> Iterator[Finding]:
    """Say where the fine-tune is read better or worse, among cells told from chance in one."""
    told = {tuple(cell[k] for k in _KEY) for cell in cells if cell["chance"] is False}
    rows = [row for row in records(found.differences) if tuple(row[k] for k in _KEY) in told]
    rows = [row for row in rows if row["p_family"] is not None]
    for better in (True, False):
        here = [
            row for row in rows if row["p_family"] < CHANCE and (row["difference"] > 0) is better
        ]
        if not here:
            continue
        most = max(here, key=lambda row: abs(float(row["difference"])))
        value = f"{most['difference']:+.3f} [{most['low']:+.3f}, {most['high']:+.3f}]"
        yield Finding(
            "read-better" if better else "read-worse",
            "note",
            f"The label is read {'better' if better else 'worse'} of the fine-tune in {len(here)} "
            f"of {counted(len(rows), 'cell')} told from chance, most at {_where(most)}: AUROC "
            f"{signed(value)}, p = {most['p_family']:.2g} over all cells",
            {
                **_place(most),
                **{name: most[name] for name in ("difference", "low", "high", "p", "p_family")},
                "cells": len(here),
                "null": "no difference: the parts of each group change their signs at random",
                "threshold": CHANCE,
            },
        )


def _absent(found: Probe) -> Iterator[Finding]:
    """Say at which positions many rows have no token."""
    total = found.about["data"]["rows"]
    counts = {
        name: held["absent"]
        for name, held in found.about["positions"].items()
        if held["absent"] > _ABSENT * total
    }
    if counts:
        named = [f"{signed(name)} in {count}" for name, count in counts.items()]
        yield Finding(
            "position-absent",
            "caution",
            f"Of {counted(total, 'row')} some have no token at a position: {listed(named)}; they "
            "are left out there, never moved to the nearest",
            {"absent": counts, "rows": total, "threshold": _ABSENT},
        )


def _without_null(found: Probe, cells: list[dict[str, Any]]) -> Iterator[Finding]:
    lost = [cell for cell in cells if cell["auroc"] is not None and cell["p_family"] is None]
    if lost:
        count = found.about["arrangements"]
        yield Finding(
            "no-null",
            "caution",
            f"Groups and folds leave {counted(count, 'arrangement')} of the labels: no interval "
            f"and no p in {counted(len(lost), 'cell')}",
            {"arrangements": count, "cells": len(lost)},
        )


def _where(cell: Mapping[str, Any]) -> str:
    stack = f" of the {cell['stack']}" if cell["stack"] else ""
    return f"{cell['site']} of layer {cell['layer']}{stack}, {signed(cell['position'])}"


def _place(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {name: cell[name] for name in (*_KEY, "n")}
