"""How far states lie apart: layers × positions, and layers × what attention and the MLP add."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from ftdiff.analyses.drift import Drift
from ftdiff.errors import BadCall
from ftdiff.plots.elements.titles import Title, own_title, titled
from ftdiff.plots.heatmaps.tokens import tokens

_LABELS = {
    "relative_change": "‖Δh‖/‖h‖",
    "cosine_distance": "1 − cos(h₀, h₁)",
    "cka": "linear CKA, unbiased",
}


def drift(
    found: Drift,
    number: str = "relative_change",
    *,
    ax: Axes | None = None,
    stack: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Colormap | str | None = None,
    title: Title = None,
    bare: bool = False,
    **seaborn: Any,
) -> Axes:
    """Draw layers × positions of one number of what layers hand on, layer 0 at the top.

    Parameters
    ----------
    found
        What `ftdiff.drift` measured.
    number
        A column of its frame: "relative_change", "cosine_distance", "cka", each also "usual_…"
        (without massive states) and "…_floor".
    ax
        Where to draw; by default a figure of its own.
    stack
        Which, where there are several; the first by default.
    vmin, vmax, cmap, title, bare, **seaborn
        As for the style "tokens"; by default from 0, of CKA up to 1.

    Raises
    ------
    UnknownName, BadCall
        There is no such number or stack, or nothing to draw.
    """
    values = found.table(number, stack=stack)
    over = titled(title, own_title(found.about))
    style = {"ax": ax, "title": over, "bare": bare, "cmap": cmap, **seaborn}
    return _drawn(values, number, (vmin, vmax), style)


def drift_parts(
    found: Drift,
    number: str = "relative_change",
    *,
    ax: Axes | None = None,
    stack: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Colormap | str | None = None,
    title: Title = None,
    bare: bool = False,
    **seaborn: Any,
) -> Axes:
    """Draw layers × (attn, mlp) of one number of what they add; the arguments are `drift`'s.

    Raises
    ------
    UnknownName, BadCall
        As for `drift`; or no attention and no MLP is found.
    """
    values = found.parts(number, stack=stack)
    over = titled(title, own_title(found.about))
    style = {"ax": ax, "title": over, "bare": bare, "cmap": cmap, **seaborn}
    return _drawn(values, number, (vmin, vmax), style)


def _drawn(
    values: pd.DataFrame,
    number: str,
    limits: tuple[float | None, float | None],
    style: Mapping[str, Any],
) -> Axes:
    values = values.dropna(axis=1, how="all")
    if values.empty:
        raise BadCall(f"nothing to draw: no cell has a {number}")
    similar = "cka" in number
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    vmin = (min(low, 0.0) if not similar else low) if limits[0] is None else limits[0]
    vmax = (1.0 if similar else high) if limits[1] is None else limits[1]
    if vmax <= vmin:
        vmin, vmax = (vmin - 1.0, vmax) if similar else (vmin, vmin + 1.0)
    name = number.removeprefix("usual_").removesuffix("_floor")
    label = _LABELS.get(name, name)
    label += ", without massive states" if number.startswith("usual_") else ""
    label += ", of the base against itself" if number.endswith("_floor") else ""
    return tokens(values, label, vmin=vmin, vmax=vmax, **style)
