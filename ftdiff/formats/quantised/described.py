"""What a file says of a quantised weight, held against the tensors beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.tensors import LazyTensor

#: Bits of the largest entry count that is believed.
_LARGEST = 1 << 62
#: torch's names of the dtypes in which dequantised weights are held.
_FLOATS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}


def expect(
    tensors: Mapping[str, LazyTensor],
    name: str,
    shape: tuple[int, ...] | None,
    dtypes: Sequence[str],
) -> LazyTensor:
    """Return a sibling of this shape (any for None) and one of these dtypes.

    Raises
    ------
    BadFile
        It is missing, or is another.
    """
    found = tensors.get(name)
    if found is None:
        raise BadFile(f"{name} is missing")
    if found.dtype not in dtypes:
        raise BadFile(f"{name} is {found.dtype}, expected {' or '.join(dtypes)}")
    if shape is not None and found.shape != shape:
        raise BadFile(f"{name} is {_times(found.shape)}, expected {_times(shape)}")
    return found


def whole(value: Any, what: str, least: int = 1, most: int = _LARGEST) -> int:
    """Return a whole number within limits.

    Raises
    ------
    BadFile
        It is none.
    """
    if type(value) is not int or not least <= value <= most:
        raise BadFile(f"{what} is {str(value)[:40]}, expected a whole number from {least}")
    return value


def sides(value: Any) -> tuple[int, ...]:
    """Return a shape.

    Raises
    ------
    BadFile
        It is none.
    """
    if not isinstance(value, list) or not 1 <= len(value) <= 8:
        raise BadFile(f"its shape is {str(value)[:40]}, expected a list of sides")
    return tuple(whole(side, "a side of its shape") for side in value)


def floating(value: Any, otherwise: str) -> str:
    """Return a float dtype by torch's name ("torch.bfloat16", "bfloat16")."""
    return _FLOATS.get(str(value).removeprefix("torch."), otherwise)


@dataclass(frozen=True)
class Told:
    """What files say beside their tensors: `config.json`, and the metadata of their headers."""

    config: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        """The dtype that the configuration names for the model's weights, or else F32."""
        return floating(self.config.get("dtype", self.config.get("torch_dtype")), "F32")

    @property
    def method(self) -> Mapping[str, Any]:
        """The configuration's `quantization_config`; empty where there is none."""
        found = self.config.get("quantization_config")
        return found if isinstance(found, dict) else {}

    @property
    def method_name(self) -> str:
        """Who quantised the model, as the configuration says; empty where it does not."""
        found = self.method.get("quant_method")
        return found if isinstance(found, str) else ""


def places(*tensors: LazyTensor) -> tuple[Any, ...] | None:
    """Return where these tensors' bytes are; None where one claims nothing."""
    found = tuple(tensor.storage for tensor in tensors)
    return None if None in found else found


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a scalar"
