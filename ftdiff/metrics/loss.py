"""What weights and their change are worth on a text: metrics of gradients of the loss."""

from __future__ import annotations

import math

from ftdiff.metrics.records.worth import Worth
from ftdiff.metrics.registry import metric


@metric(
    "saliency",
    group="worth",
    needs="text",
    pool="sum",
    label="saliency Σ|ḡ∘W|",
    unit="nats",
    formula="Σ|ḡ∘W|, ḡ the gradient of the base's mean loss over all tokens",
    range="[0, ∞)",
    null="none: it grows with the number of entries",
    source="first order of Taylor's series, as in arXiv 1906.10771; of ADEPT: arXiv 2510.10071",
)
def saliency(w: Worth) -> float:
    """How much the base's loss hangs on a tensor, to first order."""
    return w.product_abs


@metric(
    "saliency_mean",
    group="worth",
    needs="text",
    label="mean|W|·mean|ḡ|",
    unit="nats",
    formula="mean|W|·mean|ḡ|",
    range="[0, ∞)",
    null="none",
    source="per entry, so that large tensors do not come first",
)
def saliency_mean(w: Worth) -> float:
    """How much the loss hangs on a typical entry."""
    return w.base_abs / w.numel * (w.gradient_abs / w.numel) if w.numel else math.nan


@metric(
    "slope",
    group="worth",
    needs="text",
    pool="sum",
    label="slope Σ ḡ∘ΔW",
    unit="nats",
    formula="Σ ḡ∘ΔW, at the base; negative: a step along the change lowers the loss",
    range="(−∞, ∞)",
    null="0: a change at random is across the gradient",
    source="first order of Taylor's series of L(W + ΔW)",
)
def slope(w: Worth) -> float:
    """What the change would do to the loss if the loss were a plane."""
    return _known(w.slope)


@metric(
    "slope_abs",
    group="worth",
    needs="text",
    pool="sum",
    label="Σ|ḡ∘ΔW|",
    unit="nats",
    formula="Σ|ḡ∘ΔW|",
    range="[0, ∞)",
    null="none: it grows with the number of entries",
    source="as saliency, of the change",
)
def slope_abs(w: Worth) -> float:
    """How much of the change lies where the loss is steep, whatever its sign."""
    return _known(w.slope_abs)


@metric(
    "path",
    group="worth",
    needs="text",
    pool="sum",
    label="path: its part of L₁ − L₀",
    unit="nats",
    formula="∫₀¹ Σ g(W + t·ΔW)∘ΔW dt (Gauss–Legendre); negative: the change helps",
    range="(−∞, ∞)",
    null="0; all tensors together L₁ − L₀",
    source="integrated gradients, arXiv 1703.01365, along the line from base to fine-tune",
)
def path(w: Worth) -> float:
    """The tensor's part of the change of loss; the parts add up to it."""
    return _known(w.path)


@metric(
    "path_share",
    group="worth",
    needs="text",
    pool="sum",
    label="share of L₁ − L₀",
    formula="path / (L₁ − L₀); negative: it works against the rest",
    range="(−∞, ∞)",
    null="0; all tensors together 1",
    source="as path",
)
def path_share(w: Worth) -> float:
    """The tensor's share of the change of loss."""
    whole = _known(w.whole)
    return _known(w.path) / whole if whole else math.nan


def _known(value: float | None) -> float:
    return math.nan if value is None else value
