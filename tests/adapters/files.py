"""Adapter files for tests: random tensors, written as a tool would, and what is read of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from ftdiff.adapters import account
from ftdiff.deltas.recipes import Tuned
from ftdiff.deltas.recipes.held import stored
from ftdiff.formats import Checkpoint, open_checkpoint
from ftdiff.tensors import Array

Tensors = dict[str, Array]
RNG = np.random.default_rng(11)


def random(*shape: int) -> Array:
    """Return float32 of a norm that survives."""
    return (RNG.standard_normal(shape) * 0.3).astype("f4")


def write(path: Path, tensors: Mapping[str, Array], **metadata: str) -> Path:
    """Write a safetensors file."""
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(contiguous, path, metadata or None)
    return path


def configure(folder: Path, **config: Any) -> None:
    """Write an adapter_config.json."""
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")


def base(config: Mapping[str, Any] | None = None, **shapes: tuple[int, ...]) -> Checkpoint:
    """Return a base in memory; __ in a keyword is a dot."""
    tensors = {name.replace("__", "."): random(*shape) for name, shape in shapes.items()}
    opened = open_checkpoint(tensors)
    return Checkpoint(opened.tensors, "base", "memory", dict(config or {}))


def change(tuned: Tuned, name: str, opened: Checkpoint | None = None) -> Array:
    """Return ΔW of one tensor as a matrix, and hold ‖ΔW‖² to it."""
    W = opened.tensors[name] if opened is not None else None
    recipe = tuned.recipes[name]
    dW: Array = recipe.delta(W).dense()
    row = recipe.moments(W).row()
    np.testing.assert_allclose(row["delta_sq"], np.square(dW).sum(), rtol=1e-5)
    return dW


def close(found: Array, wanted: Array) -> bool:
    """Say whether two changes agree to 1e-5 of their norm."""
    difference = np.linalg.norm(np.asarray(found, "f8") - np.asarray(wanted, "f8"))
    return bool(difference <= 1e-5 * np.linalg.norm(wanted))


def balanced(tuned: Tuned) -> None:
    """Hold that what is read and what is named are all that is given."""
    became = account.fates(tuned)
    assert became.keys() == tuned.given.keys() and tuned.given
    assert {*tuned.unmatched} <= {*tuned.given}
    counts = account.counts(tuned, became)
    for what in ("tensors", "parameters"):
        given, *parts = (
            counts[fate][what] for fate in ("given", "read", "unreadable", "unmatched")
        )
        assert given == sum(parts)
    held = {id(t) for recipe in tuned.recipes.values() for t in stored(recipe)}
    for key, fate in became.items():
        assert (fate == "unmatched") == (key in tuned.unmatched)
        assert key in tuned.unmatched or key in tuned.spent or id(tuned.given[key]) in held
