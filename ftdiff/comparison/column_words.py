"""What each column of a frame means, in which unit, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ftdiff.metrics import METRICS
from ftdiff.naming import PLACE

_NAMES = "the tensor's name"
_FILES = "the files' headers"
_PASS = "sums over the entries that are finite on both sides"
_WEIGHT, _WEIGHT_SQ, _COUNT = "weight", "weight²", "count"

#: What the words of a tensor's place mean, in their order.
_PLACE = (
    "tower where a model has several (encoder, vision, …); else empty",
    "index of the block; missing outside the layers",
    "index in each list of blocks inside the layer",
    "attn, mlp, ssm, conv, cond, norm, embed, head or other",
    "q, k, v, o, up, down, gate, …; empty where no table names it",
    "block and role, or the module where no role is known",
    "module inside the layer, as spelled in the file",
    "weight, bias, …",
    "index of the expert; missing where there is none",
)

#: By column that is no metric: its meaning, its unit ("" for words and ratios), its source.
COLUMN_WORDS: Mapping[str, tuple[str, str, str]] = {
    "tensor": ("name of the tensor, as in the file", "", _FILES),
    **{name: (said, "", _NAMES) for name, said in zip(PLACE, _PLACE, strict=True)},
    "row": ("first row of the part", "index", _FILES),
    "column": ("first column of the part", "index", _FILES),
    "head": ("attention head", "index", "config.json, or the shapes"),
    "kv_head": ("attention head of keys and values", "index", "config.json, or the shapes"),
    "token": ("token whose row it is", "", "the tokenizer"),
    "status": (
        "changed, reshaped, identical, untouched, added, removed or unreadable",
        "",
        "names and entries of both sides",
    ),
    "form": ("how the change is held: dense, low-rank, …", "", _FILES),
    "shape": ("shape of the tensor", "", _FILES),
    "numel": ("entries", _COUNT, _FILES),
    "base_dtype": ("dtype in the base's file", "", _FILES),
    "tuned_dtype": ("dtype in the fine-tune's file; none in an adapter", "", _FILES),
    "note": ("what is odd about it, in words", "", _FILES),
    "reason": ("what is odd about it, as codes with spaces between them", "", _FILES),
    "base_sq": ("Σ W²", _WEIGHT_SQ, _PASS),
    "tuned_sq": ("Σ W₁²", _WEIGHT_SQ, _PASS),
    "delta_sq": ("Σ ΔW²", _WEIGHT_SQ, _PASS),
    "inner": ("Σ W·ΔW", _WEIGHT_SQ, _PASS),
    "base_abs": ("Σ |W|", _WEIGHT, _PASS),
    "delta_abs": ("Σ |ΔW|", _WEIGHT, _PASS),
    "delta_max": ("max |ΔW|", _WEIGHT, _PASS),
    "unequal": ("entries with ΔW ≠ 0", _COUNT, _PASS),
    "sign_flips": ("entries whose sign changed", _COUNT, _PASS),
    "nonfinite_base": ("NaN and Inf in the base", _COUNT, "every entry"),
    "nonfinite_tuned": ("NaN and Inf in the fine-tune", _COUNT, "every entry"),
    "ulp_sq": ("Σ ulp² of the storage dtype at W₁", _WEIGHT_SQ, _PASS),
    "turned_sq": ("Σ (W₁ − c*·W)², where that took a second pass", _WEIGHT_SQ, _PASS),
    "null_sq": ("twelve times what rounding alone changes, squared", _WEIGHT_SQ, _PASS),
    "tensors": ("tensors of the group", _COUNT, "the frame"),
    "moved": ("tensors of the group that moved", _COUNT, "the frame"),
    "params": ("parameters of the group", _COUNT, "the frame"),
    "counted": ("tensors that the group's numbers are over", _COUNT, "the frame"),
    "of": ("what the group's numbers are over: matrices, vectors or tensors", "", "the frame"),
}


class Described(dict[str, dict[str, str]]):
    """What columns mean; pandas copies a frame's `attrs` at every step, and this only once."""

    def __deepcopy__(self, memo: object) -> Described:
        return self


def described(columns: Iterable[str]) -> dict[str, Any]:
    """Return a frame's `attrs`: under "columns", by name, its meaning, unit and source.

    A metric has its formula, its range and what noise alone gives, too.

    >>> described(["delta_sq"])["columns"]["delta_sq"]["unit"]
    'weight²'
    """
    return {"columns": Described({name: told for name in columns if (told := words_of(name))})}


def words_of(column: str) -> dict[str, str]:
    """Return what a column means; nothing of one that is not ours."""
    if column in METRICS:
        one = METRICS[column]
        said = (one.compute.__doc__ or one.label).strip().partition("\n")[0]
        return {
            "meaning": said,
            "unit": one.unit,
            "source": one.source,
            "formula": one.formula,
            "range": one.range,
            "null": one.null,
        }
    if column in COLUMN_WORDS:
        return dict(zip(("meaning", "unit", "source"), COLUMN_WORDS[column], strict=True))
    return {}
