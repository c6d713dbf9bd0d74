"""What we make of an adapter, held against the difference that PEFT's own merge makes."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
from torch import nn

import ftdiff
from ftdiff.comparison.plan import pair
from ftdiff.deltas.recipes import Tuned
from ftdiff.formats import Checkpoint
from ftdiff.tensors import matrix_shape
from tests.adapters.files import balanced
from tests.conftest import write_model
from tests.oracle import models

#: Relative agreement with PEFT's merge; ours multiplies in float32, PEFT's in float64.
CLOSE = 1e-5

Arrays = Mapping[str, np.ndarray]


def save_base(model: nn.Module, folder: Path) -> Path:
    """Write the model's tensors under their names in memory, with its type beside them."""
    config = getattr(model, "config", None)
    kind = {"model_type": config.model_type} if config is not None else {}
    apart = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return write_model(folder, apart, config=kind)


def save_adapter(model: nn.Module, config: Any, folder: Path, **options: Any) -> Path:
    """Save a random adapter, whatever PEFT has to say about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return models.save_adapter(model, config, folder, **options)


def merge_difference(model: nn.Module, adapter: Path) -> dict[str, np.ndarray]:
    """Return what PEFT's merge adds to every tensor, computed in float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        after = models.state(loaded(model, adapter).merge_and_unload())
    before = models.state(copy.deepcopy(model).double())
    return {name: after[name] - W for name, W in before.items()}


def loaded(model: nn.Module, adapter: Path) -> nn.Module:
    """Return the model in float64 with the adapter on it, not merged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.PeftModel.from_pretrained(copy.deepcopy(model), str(adapter)).eval().double()


def opened(base: Path, adapter: Path) -> tuple[Checkpoint, Tuned]:
    checkpoint = ftdiff.open_checkpoint(base)
    return checkpoint, ftdiff.open_tuned(adapter, checkpoint)


def measured(base: Path | None, adapter: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the frame's rows, and why those that are unreadable are."""
    diff = ftdiff.compare(base, adapter)
    return diff.frame.to_dict("records"), diff.about["unreadable"]


def assert_agrees(base: Path, adapter: Path, wanted: Arrays) -> Tuned:
    """Hold ΔW, its norm, inner product and spectrum, and the engine's sums, to the oracle's.

    `wanted` has a difference for every base tensor; those that differ have to be exactly the
    tensors that we have recipes for, or find changed.
    """
    checkpoint, tuned = opened(base, adapter)
    balanced(tuned)
    assert not [name for name, dW in wanted.items() if dW.any() and name not in tuned.recipes]
    plan = pair(checkpoint, tuned)
    assert not plan.added and not plan.reshaped
    for change in plan.changes:
        W = change.base.read().astype(np.float64).reshape(matrix_shape(change.base.shape))
        dW = wanted[change.address.name].astype(np.float64)
        _assert_delta(change.recipe.delta(change.base), W, dW, change.address.name)
    rows, unreadable = measured(base, adapter)
    assert not unreadable
    for row in rows:
        if row["tensor"] in tuned.unmatched:
            continue
        _assert_row(row, checkpoint, wanted[row["tensor"]])
    return tuned


def _assert_delta(delta: Any, W: np.ndarray, dW: np.ndarray, name: str) -> None:
    norm = np.linalg.norm(dW)
    matrix = dW.reshape(delta.shape)
    assert np.linalg.norm(delta.dense() - matrix) <= CLOSE * norm, name
    assert abs(np.sqrt(delta.sumsq()) - norm) <= CLOSE * norm, name
    inner = float(np.vdot(W, dW))
    scale = norm * np.linalg.norm(W)
    assert abs(delta.inner(W.reshape(delta.shape)) - inner) <= CLOSE * scale, name
    ours = delta.singular_values()
    stack = dW if dW.ndim == 3 and dW.shape != delta.shape else matrix
    theirs = np.linalg.svd(stack if _is_stack(delta) else matrix, compute_uv=False)
    theirs = np.sort(theirs.ravel())[::-1][: len(ours)]
    assert np.abs(ours - theirs).max(initial=0.0) <= CLOSE * theirs.max(initial=1e-30), name
    rows = np.concatenate([delta.rows(0, 1), delta.rows(1, delta.shape[0])])
    assert np.linalg.norm(rows - matrix) <= CLOSE * norm, name


def _is_stack(delta: Any) -> bool:
    return hasattr(delta, "parts")


def _assert_row(row: Mapping[str, Any], checkpoint: Checkpoint, dW: np.ndarray) -> None:
    name, norm = row["tensor"], np.linalg.norm(dW)
    if not norm:
        assert row["status"] in ("untouched", "identical"), name
        return
    W = checkpoint.tensors[name].read().astype(np.float64)
    assert row["status"] == "changed", name
    assert abs(np.sqrt(row["delta_sq"]) - norm) <= CLOSE * norm, name
    assert abs(row["inner"] - np.vdot(W, dW)) <= CLOSE * norm * np.linalg.norm(W), name
    tuned = np.linalg.norm(W + dW)
    assert abs(np.sqrt(row["tuned_sq"]) - tuned) <= CLOSE * tuned, name
    assert abs(row["delta_max"] - np.abs(dW).max()) <= CLOSE * np.abs(dW).max(), name


def delta_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return `get_delta_weight` of every adapted layer, by the base's tensor name."""
    return {
        f"{name.removeprefix('base_model.model.')}.weight": layer.get_delta_weight("default")
        for name, layer in model.named_modules()
        if hasattr(layer, "get_delta_weight") and "default" in getattr(layer, "lora_A", {})
    }
