"""Checkpoints of any size and any number of tensors, to time things on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

_COLUMNS = 512
_ROLES = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)
_SHARD = 1 << 30  # bytes


def checkpoint(folder: Path, size: float, tensors: int, seed: int = 0) -> Path:
    """Write bf16 matrices of about `size` bytes together; every seed but 0 is a change of those.

    Parameters
    ----------
    folder
        A new one.
    size, tensors
        Of all of it, in bytes; and how many matrices they are cut into.
    seed
        Which checkpoint: 0 is the base, any other is one percent away from it.
    """
    rows = max(1, round(size / (2 * _COLUMNS * tensors)))
    noise = np.random.default_rng(0).standard_normal(rows * _COLUMNS, np.float32) * 0.02
    if seed:
        noise += np.float32(0.01) * np.roll(noise, 7 * seed)
    values = noise.astype(ml_dtypes.bfloat16)
    folder.mkdir()
    for i, some in enumerate(_shards(tensors, 2 * values.size)):
        shard = {
            f"model.layers.{j // len(_ROLES)}.{_ROLES[j % len(_ROLES)]}.weight": np.roll(
                values, j
            ).reshape(rows, _COLUMNS)
            for j in some
        }
        save_file(shard, folder / f"model-{i:05d}.safetensors")
    return folder


def files(*folders: Path) -> list[Path]:
    """Return the files of checkpoints."""
    return [file for folder in folders for file in sorted(folder.glob("*.safetensors"))]


def _shards(tensors: int, each: int) -> Iterator[range]:
    step = max(1, _SHARD // each)
    for start in range(0, tensors, step):
        yield range(start, min(start + step, tensors))
