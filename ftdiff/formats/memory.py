"""Models that are in memory already: a torch module or a state dict, without importing torch."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from ftdiff.errors import BadCall
from ftdiff.formats.checkpoint import Checkpoint
from ftdiff.tensors import Array, ArrayTensor, LazyTensor

#: torch dtypes that NumPy lacks: an integer of the same width, and the dtype of its bits.
_REINTERPRETED = {
    "torch.bfloat16": ("int16", ml_dtypes.bfloat16),
    "torch.float8_e4m3fn": ("uint8", ml_dtypes.float8_e4m3fn),
    "torch.float8_e5m2": ("uint8", ml_dtypes.float8_e5m2),
}


def open_(source: Any) -> Checkpoint:
    """Wrap a torch module or a state dict; arrays that share memory with it are not copied.

    What lies on another device is brought over when it is read, a part at a time.

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
    tensors = {str(name): _tensor(str(name), value) for name, value in state.items()}
    settings = config.to_dict() if hasattr(config, "to_dict") else {}
    return Checkpoint(tensors, f"{type(source).__name__} in memory", "memory", settings)


@dataclass(frozen=True, eq=False)
class DeviceTensor:
    """A torch tensor on another device; equal to itself alone."""

    held: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return tuple(self.held.shape)

    @property
    def dtype(self) -> str:
        """The tensor's dtype, as a safetensors code."""
        return ArrayTensor(_array(self.held.new_empty(0, device="cpu"))).dtype

    @property
    def storage(self) -> Hashable:
        """Nothing is claimed of what is in memory."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows."""
        return np.array(_array(self.held[rows] if self.shape else self.held))

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend a flat copy."""
        yield _array(self.held.reshape(-1)[start:stop])


def _tensor(name: str, value: Any) -> LazyTensor:
    if isinstance(value, np.ndarray):
        return ArrayTensor(value)
    if not hasattr(value, "detach"):
        raise BadCall(f"{name}: expected a tensor or an array, found {type(value).__name__}")
    held = value.detach()
    return ArrayTensor(_array(held)) if held.device.type == "cpu" else DeviceTensor(held)


def _array(held: Any) -> Array:
    """Return a torch tensor's values, on this side; not a copy where they are here in one piece."""
    tensor = held.cpu().contiguous()
    if str(tensor.dtype) not in _REINTERPRETED:
        return np.asarray(tensor.numpy())
    width, dtype = _REINTERPRETED[str(tensor.dtype)]
    import torch  # the caller has it: the tensor is torch's

    return np.asarray(tensor.view(getattr(torch, width)).numpy()).view(dtype)
