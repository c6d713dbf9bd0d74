"""Weights of eight bits beside a scale that no scheme reads: their numbers are not the weight."""

from __future__ import annotations

from collections.abc import Mapping

from ftdiff.tensors import LazyTensor

_EIGHTS = ("F8_E4M3", "F8_E5M2", "I8", "U8", "F8_E8M0", "F4")
#: What stands in the place of `weight`, or after it, where a scale lies beside it.
_SCALES = (
    *("scale_weight", "weight_scale", "weight_scale_inv", "weight_scale_2", "scale", "scales"),
    *("weight.scale", "weight._scale", "weight_scaling", "scale_input", "input_scale"),
)
#: A tensor of this name says that the file's float-8 weights are scaled.
MARKER = "scaled_fp8"


def beside_scales(tensors: Mapping[str, LazyTensor]) -> Mapping[str, tuple[str, ...]]:
    """Return the weights whose scale nobody applies, and the siblings that give it away.

    Asked after every scheme has taken what it reads.
    """
    marks = tuple(name for name in tensors if name.rpartition(".")[2] == MARKER)
    found = {}
    for name, tensor in tensors.items():
        if tensor.dtype not in _EIGHTS or name in marks:
            continue
        module, _, last = name.rpartition(".")
        beside = [f"{module}.{end}" if module else end for end in _SCALES]
        if last != "weight":
            beside += [f"{name}_scale", f"{name}_scale_inv", f"{name}.scale"]
        held = tuple(other for other in beside if other in tensors and other != name)
        if held or (marks and tensor.dtype.startswith("F8") and len(tensor.shape) > 1):
            found[name] = (*held, *marks)
    return found
