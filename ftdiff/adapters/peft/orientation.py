"""How the base stores a change that its adapter spells out × in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftdiff.adapters.family import Module
from ftdiff.tensors import numel

#: Model types whose `Conv1D` layers store in × out.
_CONV1D = ("gpt2", "imagegpt", "openai-gpt", "decision_transformer")


def stored(
    module: Module, out: int, into: int, plain: tuple[int, ...] | None = None
) -> tuple[tuple[int, ...], bool]:
    """Return the shape of the base's weight, and whether it is the transpose of out × in.

    Parameters
    ----------
    module
        The module whose weight changes.
    out, into
        Rows and columns of the change: output channels, and input channels times kernel.
    plain
        The untransposed shape, where the adapter knows the kernel's sides; out × in if not given.

    Returns
    -------
    shape, transposed
        The base's own shape where the change fits it; otherwise the change's, so that the plan
        sees the difference. Without a base, the configuration's `fan_in_fan_out` decides.
    """
    base = module.target.find(f"{module.path}.weight")
    if base is None:
        flipped = bool(module.config.get("fan_in_fan_out"))
        return ((into, out) if flipped else plain or (out, into)), flipped
    if base.shape == (into, out) and (into != out or turned(module)):
        return base.shape, True
    fits = base.shape[:1] == (out,) and numel(base.shape[1:]) == into
    if fits and (plain is None or _sides(base.shape) == _sides(plain)):
        return base.shape, False
    return plain or (out, into), False


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side for side in shape if side != 1)


def turned(module: Module) -> bool:
    """Say whether the base stores a weight in × out, where its shape does not show it.

    The base's model type is asked first: the flag in the adapter is that of the last module
    which PEFT wrapped.
    """
    if isinstance(module.target.config.get("model_type"), str):
        return in_by_out(module.target.config, module.path)
    return bool(module.config.get("fan_in_fan_out"))


def in_by_out(config: Mapping[str, Any], path: str) -> bool:
    """Say whether a model of this configuration stores a module's weight in × out."""
    last = path.rpartition(".")[2]
    return config.get("model_type") in _CONV1D and last in ("c_attn", "c_proj", "c_fc")
