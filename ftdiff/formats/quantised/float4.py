"""Four-bit floats (E2M1), two a byte, with a scale for each short run: NVFP4 and MXFP4.

NVFP4 has runs of 16, a float 8 each, and a number for the whole tensor; MXFP4 has runs of 32, and
an exponent each.
"""

from __future__ import annotations

from collections.abc import Mapping

from ftdiff.errors import BadFile
from ftdiff.formats.quantised.blocks import Blocks
from ftdiff.formats.quantised.codes import Codes, Nibbles
from ftdiff.formats.quantised.described import Told, expect
from ftdiff.formats.quantised.scales import Scales, Shared
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.tensors import LazyTensor, numel

OWNER = "ModelOpt"
#: What a scale is, the scheme, and how many entries share one.
RUNS = {"F8_E4M3": ("NVFP4", 16), "U8": ("MXFP4", 32)}
_PARTS = ("weight_scale", "weight_scale_2", "input_scale")


def claims(tensors: Mapping[str, LazyTensor], told: Told) -> Mapping[str, tuple[str, ...]]:
    """Return the bytes that two scales lie beside, one of the runs and one of the whole."""
    found = {}
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        beside = all(f"{name}{end}" in tensors for end in ("_scale", "_scale_2"))
        smoothed = f"{module}.pre_quant_scale" in tensors
        if last == "weight" and tensor.dtype == "U8" and beside and not smoothed:
            found[name] = tuple(f"{module}.{part}" for part in _PARTS)
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], told: Told) -> Quantised:
    """Resolve one module.

    Raises
    ------
    BadFile
        Its scales do not fit it.
    """
    packed = expect(tensors, name, None, ("U8",))
    scale = expect(tensors, f"{name}_scale", None, ("F8_E4M3",))
    return float4(packed, scale, told.dtype, tensors[f"{name}_scale_2"])


def float4(
    packed: LazyTensor,
    scale: LazyTensor,
    dtype: str,
    whole: LazyTensor | None = None,
    *,
    divided: bool = False,
) -> Quantised:
    """Return what bytes and scales stand for; of the whole tensor's, a number, or what divides.

    Raises
    ------
    BadFile
        The scales are not one for each run.
    """
    scheme, run = RUNS[scale.dtype]
    if not packed.shape:
        raise BadFile("it is a scalar, which has no runs")
    shape = (*packed.shape[:-1], packed.shape[-1] * 2)
    if scale.shape != (*shape[:-1], shape[-1] // run) or shape[-1] % run:
        raise BadFile(f"scales {list(scale.shape)} fit no {list(shape)} in runs of {run}")
    if whole is not None:
        is_one(whole)
    kind = "U8" if scale.dtype == "U8" else ""
    shared = Scales(scale, 1, shape[-1] // run, kind, whole, divided)
    return of_runs(shape, Nibbles(packed), shared, scheme, dtype, run)


def of_runs(
    shape: tuple[int, ...], codes: Codes, scales: Shared, scheme: str, dtype: str, run: int
) -> Quantised:
    """Return four-bit floats of a scheme, of which so many share a scale."""
    return Quantised(Blocks(shape, shape[-1], run, codes, "E2M1", scales), scheme, dtype)


def is_one(tensor: LazyTensor) -> LazyTensor:
    """Return a scale of the whole tensor.

    Raises
    ------
    BadFile
        It is not one float.
    """
    if numel(tensor.shape) != 1 or tensor.dtype not in ("F32", "F16", "BF16"):
        raise BadFile(f"the scale of the whole is {tensor.dtype} {list(tensor.shape)}, not a float")
    return tensor
