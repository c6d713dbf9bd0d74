"""Models that are in memory already: a torch module or a state dict, without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from ftdiff.errors import BadCall
from ftdiff.formats.checkpoint import Checkpoint
from ftdiff.tensors import Array, ArrayTensor

#: torch dtypes that NumPy lacks: an integer of the same width, and the dtype of its bits.
_REINTERPRETED = {
    "torch.bfloat16": ("int16", ml_dtypes.bfloat16),
    "torch.float8_e4m3fn": ("uint8", ml_dtypes.float8_e4m3fn),
    "torch.float8_e5m2": ("uint8", ml_dtypes.float8_e5m2),
}


def open_(source: Any) -> Checkpoint:
    """Wrap a torch module or a state dict; arrays that share memory with it are not copied.

    Raises
    ------
    BadCall
        It is neither, or a value is not an array.
    """
    config: Any = getattr(source, "config", None)
    state = source.state_dict() if hasattr(source, "state_dict") else source
    if not isinstance(state, Mapping):
        raise BadCall(
            f"cannot open a {type(source).__name__}: give a path, a torch module or a state dict"
        )
    tensors = {str(name): ArrayTensor(_array(str(name), value)) for name, value in state.items()}
    settings = config.to_dict() if hasattr(config, "to_dict") else {}
    return Checkpoint(tensors, f"{type(source).__name__} in memory", "memory", settings)


def _array(name: str, value: Any) -> Array:
    if isinstance(value, np.ndarray):
        return value
    if not hasattr(value, "detach"):
        raise BadCall(f"{name}: expected a tensor or an array, found {type(value).__name__}")
    tensor = value.detach().cpu().contiguous()
    if str(tensor.dtype) not in _REINTERPRETED:
        return np.asarray(tensor.numpy())
    width, dtype = _REINTERPRETED[str(tensor.dtype)]
    import torch  # the caller has it: the tensor is torch's

    return np.asarray(tensor.view(getattr(torch, width)).numpy()).view(dtype)
