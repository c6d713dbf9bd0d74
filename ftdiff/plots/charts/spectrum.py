"""Singular values of ΔW as they were kept in a diff, over the edge that noise does not exceed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from ftdiff.analyses.finding import counted
from ftdiff.comparison.component_styles import SPARE
from ftdiff.comparison.result import Diff
from ftdiff.comparison.stack_names import stack_named
from ftdiff.errors import BadCall
from ftdiff.metrics.names import several
from ftdiff.plots.charts import axes as chart
from ftdiff.plots.elements.axes import FAINT, FONT, INK
from ftdiff.plots.elements.colours import tick_texts
from ftdiff.plots.elements.labels import label_of, shown
from ftdiff.plots.elements.ticks import layer_ticks
from ftdiff.plots.elements.titles import Title, own_title, titled
from ftdiff.registry import Registry

#: The gid of lines at the edge of noise.
EDGE = "noise-edge"
# Tensors drawn where none is named, and named in the legend at most.
_FEW, _MOST = 4, 8
# From the first layer to the last; viridis' own end is lost on white.
_DEPTH = ListedColormap(mpl.colormaps["viridis"](np.linspace(0.0, 0.88, 256)), name="ftdiff.depth")


@dataclass(frozen=True)
class Curve:
    """The kept singular values of one tensor: see `ftdiff.metrics.linalg.spectrum_curve`."""

    tensor: str
    component: str
    layer: int | None
    index: tuple[int, ...]
    sigma: tuple[float, ...]
    count: int
    edge: float | None
    above: int | None
    rank: int | None

    @property
    def said(self) -> str:
        """What stands out of noise, in words."""
        if self.above is None:
            return f"rank {self.rank}" if self.rank is not None else "no bulk of noise"
        return f"{self.above} of {self.count} above"


def spectrum(
    diff: Diff,
    metric: str = "spectral_norm",
    *,
    ax: Axes | None = None,
    tensors: str | Sequence[str] = (),
    component: str | None = None,
    stack: str | None = None,
    title: Title = None,
    bare: bool = False,
) -> Axes:
    """Draw the singular values of ΔW by their index, and what of them stands above noise.

    Parameters
    ----------
    diff
        A diff for which all spectral metrics were measured; no weight is read.
    metric
        Any metric of the group "spectral": the figure is the same.
    ax
        As for `heatmap`.
    tensors
        Names of tensors, or ends of them that no others have. By default the few that moved
        furthest, one of each component.
    component
        All layers of one component instead, coloured by depth.
    stack
        Only this tower.
    title, bare
        Text above; whether to leave out all text but the axes' numbers.

    Returns
    -------
    Axes
        A line for each tensor, labelled by its name, against its index from 1. Dashed lines of
        the gid "noise-edge" are the edge of noise that has the same median and is as uneven.

    Raises
    ------
    BadCall
        The spectra were not measured, or the choice leaves none.
    UnknownName
        No tensor, component or stack has that name.
    """
    if tensors and component is not None:
        raise BadCall("a spectrum draws either some tensors or one component over its layers")
    found = _chosen(curves(diff, stack), diff, several(tensors), component)
    if ax is None:
        ax = chart.new_chart(2.9 if component is not None else 2.7 + 0.17 * len(found))
    chart.dressed(ax)
    colours = _by_depth(found) if component is not None else _by_turn(len(found))
    most = max(one.count for one in found)
    for one, colour in zip(found, colours, strict=True):
        there = [(i, s) for i, s in zip(one.index, one.sigma, strict=True) if s > 0]
        ax.plot(
            [i for i, _ in there],
            [s for _, s in there],
            color=colour,
            linewidth=1.2,
            marker="o" if one.count <= 16 else "",
            markersize=2.6,
            label=one.tensor,
        )
        if one.edge:
            ax.axhline(one.edge, color=colour, linewidth=0.8, linestyle=(0, (4, 2)), gid=EDGE)
    edges = [one.edge for one in found if one.edge]
    ax.set_ylim(*chart.heights([np.array([*one.sigma, *edges]) for one in found], log=True))
    chart.number_heights(ax, "σ(ΔW)", log=True)
    _number_indices(ax, most)
    if component is not None:
        _depth_bar(ax, found, bare=bare)
    if bare:
        chart.bare_chart(ax)
        return ax
    ax.set_xlabel("index of the singular value", fontsize=FONT, color=INK, labelpad=2)
    notes = [_overall(found)]
    if edges:
        notes.append("dashed: the edge of noise with the same median (Marchenko-Pastur)")
    if any(one.count > len(one.index) for one in found):
        notes.append("beyond the first values, a line through some of them")
    handles = [] if component is not None else _handles(found, colours)
    said = own_title(diff.about, *([label_of(component)] if component is not None else []))
    chart.explained(ax, handles, titled(title, said), notes)
    return ax


def curves(diff: Diff, stack: str | None = None) -> list[Curve]:
    """Return what is kept of every tensor's spectrum, in the order of the frame.

    Raises
    ------
    BadCall
        There is none.
    UnknownName
        No stack has that name.
    """
    if not isinstance(diff, Diff):
        raise BadCall(f"a spectrum is of a Diff, this is {type(diff).__name__}")
    frame = diff.frame
    if stack is not None:
        stack = stack_named(frame["stack"].dropna().unique(), stack)
        frame = frame[frame["stack"] == stack]
    notes: Mapping[str, Any] = diff.about.get("spectra", {})
    told = zip(frame["tensor"], frame["component"], frame["layer"], strict=True)
    found = [
        _curve(str(name), str(component), layer, notes[name]["curve"])
        for name, component, layer in told
        if "curve" in notes.get(name, ())
    ]
    if not found:
        raise BadCall("no spectrum was measured: compare -m spectral (metrics=['spectral'])")
    return found


def _curve(name: str, component: str, layer: Any, kept: Mapping[str, Any]) -> Curve:
    return Curve(
        tensor=name,
        component=component,
        layer=None if pd.isna(layer) else int(layer),
        index=tuple(kept["index"]),
        sigma=tuple(map(float, kept["sigma"])),
        count=int(kept["count"]),
        edge=kept["edge"],
        above=kept["above"],
        rank=kept["rank"],
    )


def _chosen(
    found: list[Curve], diff: Diff, tensors: Sequence[str], component: str | None
) -> list[Curve]:
    if component is not None:
        Registry("component", dict.fromkeys(one.component for one in found))[component]
        of = [one for one in found if one.component == component and one.layer is not None]
        if not of:
            raise BadCall(f"{component}: it is in no layer; name its tensor instead")
        return sorted(of, key=lambda one: one.layer or 0)
    if tensors:
        return [_named(found, name) for name in tensors]
    far = diff.by("tensor", metrics=("relative_norm", "rms_change")).set_index("tensor")
    by = "relative_norm" if far["relative_norm"].notna().any() else "rms_change"
    moved = far[by].astype(float).fillna(-1.0)
    best: dict[str, Curve] = {}
    for one in sorted(found, key=lambda one: -float(moved[one.tensor])):
        best.setdefault(one.component, one)
    return list(best.values())[:_FEW]


def _named(found: list[Curve], name: str) -> Curve:
    ends = [one for one in found if one.tensor == name or one.tensor.endswith(f".{name}")]
    if len(ends) > 1:
        whole = [one for one in ends if one.tensor == name]
        if not whole:
            raise BadCall(f"{len(ends)} tensors end in {name!r}: {ends[0].tensor!r}, …")
        return whole[0]
    if not ends:
        Registry("tensor with a spectrum", {one.tensor: one for one in found})[name]
    return ends[0]


def _overall(found: list[Curve]) -> str:
    """Say how many directions stand above noise, over all that is drawn."""
    counts = [one.above for one in found if one.above is not None]
    if not counts:
        return "from factors: no bulk of noise to stand out of"
    if len(counts) == 1:
        return f"{counted(counts[0], 'singular value')} above the edge of noise"
    some = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{counts[0]}"
    each = f"(median {np.median(counts):g}) " if min(counts) < max(counts) else ""
    tensors = counted(len(counts), "tensor")
    return f"above the edge of noise: {some} singular values {each}in each of {tensors}"


def _by_turn(count: int) -> list[str]:
    return [SPARE[i % len(SPARE)].colour for i in range(count)]


def _by_depth(found: list[Curve]) -> list[Any]:
    scale = _depth(found)
    return [scale.to_rgba(np.array(one.layer)) for one in found]


def _depth(found: list[Curve]) -> ScalarMappable:
    layers = [one.layer or 0 for one in found]
    return ScalarMappable(Normalize(min(layers), max(layers)), _DEPTH)


def _depth_bar(ax: Axes, found: list[Curve], *, bare: bool) -> None:
    figure = ax.get_figure()
    layers = sorted({one.layer or 0 for one in found})
    if figure is None or len(layers) < 2:
        return
    bar = figure.colorbar(_depth(found), ax=ax, pad=0.03, aspect=34)
    ticks = [layers[row] for row in layer_ticks(len(layers), len(layers) / 12)]
    bar.set_ticks(ticks, labels=list(map(str, ticks)))
    bar.ax.tick_params(labelsize=FONT, length=2, width=0.6, colors=INK)
    bar.outline.set(linewidth=0.4, edgecolor=FAINT)
    bar.set_label("" if bare else "Layer", fontsize=FONT, color=INK)


def _number_indices(ax: Axes, most: int) -> None:
    """Tick the indices; as logarithms where there are many."""
    if most > 64:
        ax.set_xscale("log")
        ax.set_xlim(0.9, most * 1.1)
        ticks = chart.log_ticks(1.0, most)
    else:
        ax.set_xlim(1 - 0.02 * most, most * 1.02)
        ticks = tuple(float(row + 1) for row in layer_ticks(most, most / 10, steps=(1, 2, 4)))
    ax.set_xticks(ticks, tick_texts(ticks), fontsize=FONT)
    ax.xaxis.set_minor_locator(NullLocator())


def _handles(found: list[Curve], colours: Sequence[Any]) -> list[Line2D]:
    return [
        Line2D([], [], color=colour, linewidth=1.3, label=f"{shown(one.tensor, 46)}: {one.said}")
        for one, colour in list(zip(found, colours, strict=True))[:_MOST]
    ]
