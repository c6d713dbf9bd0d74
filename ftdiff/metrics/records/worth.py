"""What a text says of one tensor: its gradient against its weights, and against its change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Worth:
    """Sums over the entries of one tensor; None where there is no fine-tune.

    Attributes
    ----------
    numel
        Entries.
    base_abs, gradient_abs, product_abs
        Σ|W|, Σ|ḡ| and Σ|ḡ∘W|, where ḡ is the gradient of the base's mean loss over all tokens.
    slope, slope_abs
        Σ ḡ∘ΔW and Σ|ḡ∘ΔW|.
    path
        ∫₀¹ Σ g(W + t·ΔW)∘ΔW dt: the tensor's part of the change of loss.
    whole
        The change of loss from base to fine-tune, of which shares are taken.
    """

    numel: int
    base_abs: float
    gradient_abs: float
    product_abs: float
    slope: float | None = None
    slope_abs: float | None = None
    path: float | None = None
    whole: float | None = None
