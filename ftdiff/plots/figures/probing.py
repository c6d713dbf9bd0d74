"""Where a label is read: layers × positions of a probe, cells of chance in grey."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from ftdiff.analyses.probing import Probe
from ftdiff.analyses.probing.result import CHANCE
from ftdiff.comparison.model_names import told
from ftdiff.errors import BadCall
from ftdiff.plots.elements.titles import Title, titled
from ftdiff.plots.heatmaps.tokens import tokens

_LABELS = {"auroc": "probe AUROC", "difference": "probe AUROC, tuned − model"}


def probe(
    found: Probe,
    number: str = "auroc",
    *,
    ax: Axes | None = None,
    site: str | None = None,
    stack: str | None = None,
    model: str = "model",
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Colormap | str | None = None,
    title: Title = None,
    bare: bool = False,
    **seaborn: Any,
) -> Axes:
    """Draw one number of a probe in the style of tokens.

    Parameters
    ----------
    found
        What `ftdiff.probe` measured.
    number
        A column of its frame; "difference" for that of the fine-tune, about 0.
    ax
        Where to draw; by default a figure of its own.
    site, stack, model
        Which, where there are several; the first site of "model" by default.
    vmin, vmax, cmap, title, bare, **seaborn
        As for the style "tokens". Of an AUROC .5 and 1.

    Raises
    ------
    UnknownName, BadCall
        There is no such number, site or model, no fine-tune, or nothing to draw.
    """
    values = found.table(number, site=site, stack=stack, model=model).dropna(axis=1, how="all")
    if values.empty:
        raise BadCall(f"nothing to draw: no cell has a {number}")
    site = found.sites[0][0] if site is None else site
    chance = _chance(found, number, site, stack, model)[[*values]]
    own = site if len(found.sites) > 1 else ""
    own += f" of the {model}" if found.about.get("tuned") and number != "difference" else ""
    read = found.about.get("tuned") if model == "tuned" else found.about.get("model")
    own = " · ".join(part for part in (told(read) if read else "", own.strip()) if part)
    names = [str(name).replace("-", "−") for name in values]
    if not number.startswith("auroc") and number != "difference":
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        vmin = low if vmin is None else vmin
        vmax = (high if high > vmin else vmin + 1.0) if vmax is None else vmax
    return tokens(
        values.set_axis(names, axis=1),
        _LABELS.get(number, number.replace("_", " ")),
        ax=ax, difference=number == "difference", chance=chance.set_axis(names, axis=1),
        vmin=vmin, vmax=vmax, title=titled(title, own), bare=bare,
        cmap=cmap, **seaborn,
    )  # fmt: skip


def _chance(found: Probe, number: str, site: str, stack: str | None, model: str) -> pd.DataFrame:
    """Return which cells cannot be told from chance, or from no difference."""
    if number != "difference":
        return found.table("chance", site=site, stack=stack, model=model)
    rows = found.differences[found.differences["site"] == site]
    if stack is not None:
        rows = rows[rows["stack"] == stack]
    wide = rows.pivot(index="layer", columns="position", values="p_family").astype(float)
    wide.index = wide.index.astype(int)
    return ~(wide < CHANCE)
