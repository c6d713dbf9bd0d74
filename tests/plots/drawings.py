"""Diffs made by hand, and what is drawn of them read back from its Axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.collections import QuadMesh

from ftdiff.comparison.result import Diff

COMPONENTS = ("attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down", "mlp.gate")
PUBLISHED = ["attn. q", "attn. k", "attn. v", "attn. o", "mlp. up", "mlp. down", "mlp. gate"]
WHITE = (1.0, 1.0, 1.0, 1.0)


def movement(layer: int, column: int) -> float:
    return 0.01 + 0.001 * layer + 0.0003 * ((column * 5 + layer * 3) % 7)


def rows(
    layers: int, components: Any = COMPONENTS, stack: str = "", move: Any = movement, **facts: Any
) -> list[dict[str, Any]]:
    """Rows as the engine makes them, of tensors with ‖W‖ = 10 and ‖ΔW‖/‖W‖ = move(layer, j)."""
    made = []
    for layer in range(layers):
        for j, component in enumerate(components):
            block, _, role = component.partition(".")
            module = {"attn": "self_attn", "mlp": "mlp"}.get(block, block) + f".{role}_proj"
            row = {"tensor": f"{stack}.layers.{layer}.{module}.weight", "stack": stack}
            row |= {"layer": layer, "block": block, "role": role, "component": component}
            row |= {"module": module, "param": "weight", "status": "changed", "form": "dense"}
            row |= {"shape": (8, 8), "numel": 64, "base_dtype": "BF16", "tuned_dtype": "BF16"}
            row |= {"base_sq": 100.0, "tuned_sq": 100.0, "delta_sq": 100 * move(layer, j) ** 2}
            row |= {"inner": 0.0, "base_abs": 1.0, "delta_abs": 1.0, "delta_max": 1.0}
            row |= {"unequal": 64, "sign_flips": 0, "nonfinite_base": 0, "nonfinite_tuned": 0}
            made.append(row | {"ulp_sq": 1e-9} | facts)
    return made


def diff_of(*made: list[dict[str, Any]]) -> Diff:
    return Diff.of_rows([row for part in made for row in part], {"base": "b", "tuned": "t"})


def mesh_of(ax: Any) -> QuadMesh:
    mesh = ax.collections[0]
    assert isinstance(mesh, QuadMesh)
    return mesh


def numbers(ax: Any) -> np.ndarray:
    """The numbers of the cells, NaN where there is none, row 0 at y = 0."""
    return np.ma.filled(mesh_of(ax).get_array(), np.nan)


def faces(ax: Any) -> np.ndarray:
    """The colours of the cells as drawn, rows × columns × RGBA, row 0 at y = 0."""
    mesh = mesh_of(ax)
    mesh.update_scalarmappable()
    shape = mesh.get_array().shape
    return mesh.get_facecolor().reshape(*shape, 4)


def x_texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_xticklabels()]


def y_ticks(ax: Any) -> dict[float, str]:
    texts = [text.get_text() for text in ax.get_yticklabels()]
    return dict(zip(ax.get_yticks().tolist(), texts, strict=True))


def said(ax: Any) -> str:
    """Return the notes below a map, on one line."""
    return " ".join(ax.get_xlabel().split())


def on_bar(ax: Any) -> str:
    """Return what is written above a map's colour bar and below it, on one line."""
    bar = bar_of(ax).ax
    return " ".join(" ".join(t.split()) for t in (bar.get_title(loc="left"), bar.get_xlabel()))


def bar_of(ax: Any) -> Any:
    return mesh_of(ax).colorbar


def marked(ax: Any, gid: str) -> list[Any]:
    """The rectangles under a mark, as (x, y)."""
    found = [marks for marks in ax.collections if marks.get_gid() == gid]
    boxes = [path.get_extents() for marks in found for path in marks.get_paths()]
    return sorted((box.x0, box.y0) for box in boxes)
