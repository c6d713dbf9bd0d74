"""Weights of few bits that no scheme reads: their numbers alone are not the weight."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ftdiff.errors import BadFile
from ftdiff.formats.quantised.comfy import MARKER
from ftdiff.formats.quantised.described import Told
from ftdiff.tensors import LazyTensor

_EIGHTS = ("F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "F6_E3M2", "I8", "U8")
#: Of numbers of more bits, those of a matrix alone are codes.
_WORDS = ("I16", "U16", "I32", "U32")
#: How else what blocks share may be called, at the end.
_SHARED = ("absmax", "zeros", "zero_point", "biases")
#: Who quantises in ways that are not read here, as `quant_method` has it, and by name.
UNREAD = {
    "aqlm": "AQLM",
    "bitnet": "BitNet",
    "eetq": "EETQ",
    "fouroversix": "Four Over Six",
    "fp_quant": "FP-Quant",
    "higgs": "HIGGS",
    "hqq": "HQQ",
    "metal": "Metal",
    "qqq": "QQQ",
    "quanto": "Quanto",
    "quark": "Quark",
    "quip": "QuIP#",
    "sinq": "SINQ",
    "spqr": "SpQR",
    "vptq": "VPTQ",
}
_WAY_OUT = "compare the checkpoint that it was made from, or dequantise it with its own library"


def refuse_method(source: str, tensors: Mapping[str, LazyTensor], told: Told) -> None:
    """Raise where a configuration names a way to quantise that is not read, and codes are there.

    A configuration that was left over beside plain floats is no reason.

    Raises
    ------
    BadFile
        It does.
    """
    name = told.method_name
    if name.lower() in UNREAD and any(_is_code(tensor) for tensor in tensors.values()):
        raise BadFile(refusal(source, UNREAD[name.lower()]))


def refusal(source: str, method: str) -> str:
    """Return the complaint about a checkpoint that is quantised by such a method."""
    return f"{source}: quantised by {method[:40]}, which is not read here; {_WAY_OUT}"


def unclaimed(
    tensors: Mapping[str, LazyTensor], claimed: Collection[str] = (), method: str = ""
) -> Mapping[str, tuple[str, ...]]:
    """Return the weights whose scale nobody applies, and the siblings that give it away.

    Asked after every scheme has taken what it reads, with the names of that, and who quantised the
    checkpoint, if it says so: then codes are codes without a scale beside them, too.
    """
    marks = tuple(name for name in tensors if name.rpartition(".")[2] == MARKER)
    beside = _scales(tensors)
    found = {}
    for name, tensor in tensors.items():
        if name in claimed or name in marks or _is_scale(name) or not _is_code(tensor):
            continue
        module = name.rpartition(".")[0]
        own = (other for place in (module, name) for other in beside.get(place, ()))
        held = tuple(dict.fromkeys(other for other in own if other != name))
        marked = bool(marks) and tensor.dtype.startswith("F8") and len(tensor.shape) > 1
        told = bool(method) and len(tensor.shape) > 1 and tensor.dtype in _EIGHTS
        if held or marked or told:
            found[name] = (*held, *marks)
    return found


def _is_code(tensor: LazyTensor) -> bool:
    if tensor.dtype in _WORDS:
        return len(tensor.shape) > 1
    return tensor.dtype in _EIGHTS


def _is_scale(name: str) -> bool:
    last = name.rpartition(".")[2]
    return "scale" in last or "scaling" in last or last.endswith(_SHARED)


def _scales(tensors: Mapping[str, LazyTensor]) -> Mapping[str, list[str]]:
    """Return the scales of each module, and of each parameter that has some of its own."""
    found: dict[str, list[str]] = {}
    for name in tensors:
        if _is_scale(name):
            found.setdefault(name.rpartition(".")[0], []).append(name)
    return found
