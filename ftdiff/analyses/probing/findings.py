"""What probes show, in sentences with their statistic and what chance gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ftdiff.analyses.finding import Finding, counted, gravest_first, listed, speaks_for
from ftdiff.analyses.probing.result import CHANCE, Probe

if TYPE_CHECKING:
    import pandas as pd

#: Rows without a position are spoken of from this share on.
_ABSENT = 0.05
#: What tells cells of a model apart.
_KEY = ["site", "stack", "layer", "position"]


@speaks_for(Probe)
def findings(found: Probe) -> list[Finding]:
    """Return what is worth saying, alarms first."""
    said = [*_best(found), *_changed(found), *_absent(found), *_without_null(found)]
    return gravest_first(said)


def _best(found: Probe) -> Iterator[Finding]:
    """Say of each model where the label is read best, or that it is read nowhere."""
    for side, rows in found.frame.groupby("model", sort=False):
        known = rows.dropna(subset=["auroc", "p_family"])
        if known.empty:
            continue
        best = known.loc[known["auroc"].astype(float).idxmax()]
        told = known[~known["chance"].astype(bool)]
        whose = "" if found.about.get("tuned") is None else f" of the {side}"
        evidence = {
            **_cell(best),
            "p": float(best["p"]),
            "p_family": float(best["p_family"]),
            "cells": len(known),
            "told_from_chance": len(told),
            "null": "labels permuted for all cells at once",
            "threshold": CHANCE,
        }
        value = f"AUROC {best['auroc']:.3f} [{best['auroc_low']:.3f}, {best['auroc_high']:.3f}]"
        if told.empty:
            yield Finding(
                "chance-throughout",
                "note",
                f"The label is read nowhere{whose}: the best of {counted(len(known), 'cell')} is "
                f"{_where(best)} with {value}, and permuted labels do as well with p = "
                f"{best['p_family']:.2g} over all cells",
                evidence,
            )
        else:
            yield Finding(
                "read-best",
                "note",
                f"The label is read best{whose} at {_where(best)}: {value}, p = "
                f"{best['p_family']:.2g} over all cells; {len(told)} of "
                f"{counted(len(known), 'cell')} are told from chance",
                evidence,
            )


def _changed(found: Probe) -> Iterator[Finding]:
    """Say where the fine-tune is read better or worse, among cells told from chance in one."""
    rows = found.differences.dropna(subset=["difference", "p_family"])
    told = found.frame[found.frame["chance"].eq(False).fillna(False)]
    rows = rows.merge(told[_KEY].drop_duplicates(), on=_KEY)
    for better in (True, False):
        sign = 1 if better else -1
        here = rows[(rows["p_family"] < CHANCE) & (sign * rows["difference"] > 0)]
        if here.empty:
            continue
        most = here.loc[(sign * here["difference"].astype(float)).idxmax()]
        yield Finding(
            "read-better" if better else "read-worse",
            "note",
            f"The label is read {'better' if better else 'worse'} of the fine-tune in {len(here)} of "
            f"{counted(len(rows), 'cell')} told from chance, most at {_where(most)}: AUROC "
            + f"{most['difference']:+.3f} [{most['low']:+.3f}, {most['high']:+.3f}]".replace(
                "-", "−"
            )
            + f", p = {most['p_family']:.2g} over all cells",
            {
                **_cell(most),
                "difference": float(most["difference"]),
                "p": float(most["p"]),
                "p_family": float(most["p_family"]),
                "cells": len(here),
                "null": "no difference: signs of each group's part changed at random",
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
        named = [f"{name} in {count}" for name, count in counts.items()]
        yield Finding(
            "position-absent",
            "caution",
            f"Of {counted(total, 'row')} some have no token at a position: {listed(named)}; they "
            "are left out there, never moved to the nearest",
            {"absent": counts, "rows": total, "threshold": _ABSENT},
        )


def _without_null(found: Probe) -> Iterator[Finding]:
    lost = found.frame[found.frame["auroc"].notna() & found.frame["p_family"].isna()]
    if len(lost):
        count = found.about["arrangements"]
        yield Finding(
            "no-null",
            "caution",
            f"Groups and folds leave {counted(count, 'arrangement')} of the labels: no interval "
            f"and no p in {counted(len(lost), 'cell')}",
            {"arrangements": count, "cells": len(lost)},
        )


def _where(row: pd.Series[Any]) -> str:
    stack = f" of the {row['stack']}" if row["stack"] else ""
    return f"{row['site']} of layer {row['layer']}{stack}, {row['position']}".replace("-", "−")


def _cell(row: pd.Series[Any]) -> dict[str, Any]:
    return {
        "site": str(row["site"]), "stack": str(row["stack"]), "layer": int(row["layer"]),
        "position": str(row["position"]), "n": int(row["n"]),
    }  # fmt: skip
