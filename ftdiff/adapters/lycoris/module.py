"""One module of a single-file adapter, as sd-scripts and LyCORIS write it, becomes recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from ftdiff.adapters.account import unused
from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.lycoris.change import Change, finished, scale, together
from ftdiff.adapters.lycoris.differences import (
    ELSEWHERE,
    beside_factors,
    differences,
    with_stored,
)
from ftdiff.adapters.lycoris.scaled_rows import Multiplied
from ftdiff.adapters.lycoris.suffixes import REFUSED
from ftdiff.adapters.peft.closed_forms.loha import pair
from ftdiff.adapters.peft.closed_forms.lora_factors import times
from ftdiff.adapters.products import Loha, Lokr, Tucker
from ftdiff.deltas.recipes import Maker, Product, Rebuilt, Recipe, Replaced, Unreadable
from ftdiff.errors import BadAdapter
from ftdiff.tensors import LazyTensor, numel

#: How a module's parts begin, and the algorithm that wrote them.
_MARKS = {
    "set_weight": "set",
    "hada_": "loha",
    "lokr_": "lokr",
    "up": "lora",
    "down": "lora",
    "mid": "lora",
    "on_input": "ia3",
    "diff": "lycoris-full",
    "w_norm": "norm",
    "b_norm": "norm",
}


def algorithm(parts: Iterable[str]) -> str:
    """Return which algorithm a module's parts belong to; "" for none.

    >>> algorithm(["alpha", "hada_w1_a"])
    'loha'
    """
    names = list(parts)
    found = (name for word, name in _MARKS.items() if any(part.startswith(word) for part in names))
    return next(found, "")


def read(module: Module) -> Reading:
    """Return the recipes of a module's tensors; a reason where there is none.

    Parameters
    ----------
    module
        Its tensors by part, see `suffixes.split`.

    Notes
    -----
    Whole differences (`diff`, `diff_b`, …) stand alone, or beside the factors of any algorithm.
    """
    known = algorithm(module.tensors)
    if not known and not any(part in REFUSED for part in module.tensors):
        found = ", ".join(module.tensors)
        why = f"{found} with nothing that it belongs to"
        return Reading({}, unmatched=dict.fromkeys(module.tensors, why))
    weight = module.target.name(f"{module.path}.weight")
    try:
        refused = [part for part in module.tensors if part in REFUSED]
        if refused:
            raise BadAdapter(f"{module.path}.{refused[0]}: {REFUSED[refused[0]]}")
        made = beside_factors(module, _ALGORITHMS[known](module, weight), weight)
        numbers = {part: (weight,) for part in ("alpha",) if part in module.tensors}
        spent = {**made.spent, **numbers}
        rest = dict.fromkeys(unused(module.tensors, replace(made, spent=spent)), _why_unused(known))
        return replace(made, spent=spent, unmatched={**made.unmatched, **rest})
    except BadAdapter as reason:
        base = module.target.find(f"{module.path}.weight")
        shape = base.shape if base is not None else ()
        return differences(module, Reading({weight: Unreadable(shape, str(reason))}))


def _why_unused(known: str) -> str:
    return f"beside a module of the kind {known!r}, of which it is no part; not computed"


def _lora(module: Module, weight: str) -> Reading:
    up, down = together(module, "up", "down")
    mid = module.tensors.get("mid")
    rank = down.shape[0] if down.shape else 0
    if len(up.shape) < 2 or len(down.shape) < 2 or not rank or numel(up.shape[1:]) != rank:
        halves = f"lora_up ({times(up)}) and lora_down ({times(down)})"
        raise BadAdapter(f"{module.path}: {halves} do not multiply")
    scaling, origin = scale(module, rank)
    shape: tuple[int, ...] = (up.shape[0], *down.shape[1:])
    made: Maker = Product(down, up, scaling)
    if mid is not None:
        if mid.shape[:2] != (rank, rank) or numel(down.shape[1:]) != down.shape[1]:
            raise BadAdapter(f"{module.path}: lora_mid ({times(mid)}) does not fit rank {rank}")
        shape = (up.shape[0], down.shape[1], *mid.shape[2:])
        made = Tucker(up, mid, down, scaling)
    reading = finished(module, weight, Change(shape, made, origin))
    if "up_bias" in module.tensors and scaling != 1.0:
        name = module.target.name(f"{module.path}.bias")
        reason = f"{module.path}: the factors' bias is under a factor other than 1; not computed"
        bias = module.tensors["up_bias"]
        return _more(reading, name, Unreadable(bias.shape, reason, parts=(bias,)))
    return with_stored(module, reading, "bias", "up_bias")


def _loha(module: Module, weight: str) -> Reading:
    parts = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    w1_a, w1_b, w2_a, w2_b = together(module, *parts)
    _matrices(module, w1_a, w1_b, w2_a, w2_b)
    t1, t2 = module.tensors.get("hada_t1"), module.tensors.get("hada_t2")
    if (t1 is None) != (t2 is None):
        raise BadAdapter(f"{module.path}: adapter has one of hada_t1 and hada_t2, not both")
    sides = ((w1_a, w1_b, t1), (w2_a, w2_b, t2))
    shapes = [pair(module, *side) for side in sides]
    if shapes[0] != shapes[1]:
        raise BadAdapter(f"{module.path}: the two products have shapes {shapes[0]}, {shapes[1]}")
    scaling, origin = scale(module, w1_b.shape[0])
    made = Loha(w1_a, w1_b, w2_a, w2_b, scaling, t1, t2)
    return finished(module, weight, Change(shapes[0], made, origin, "hadamard"))


def _lokr(module: Module, weight: str) -> Reading:
    held = module.tensors.get
    w1, w2, t2 = held("lokr_w1"), held("lokr_w2"), held("lokr_t2")
    made = Lokr(w1, w2, 1.0)
    if w1 is None:
        a, b = together(module, "lokr_w1_a", "lokr_w1_b")
        _matrices(module, a, b)
        made = replace(made, w1_a=a, w1_b=b)
        left, rank = pair(module, a, b, None), b.shape[0]
    else:
        left, rank = w1.shape, 0
    if w2 is None:
        a, b = together(module, "lokr_w2_a", "lokr_w2_b")
        _matrices(module, a, b)
        made = replace(made, w2_a=a, w2_b=b, t2=t2)
        right, rank = pair(module, a, b, t2), b.shape[0]
    else:
        right = w2.shape
    if len(left) != 2 or len(right) < 2:
        raise BadAdapter(f"{module.path}: lokr_w1 and lokr_w2 are not matrices")
    scaling, origin = (1.0, "1: both Kronecker factors are whole") if not rank else (0.0, "")
    if rank:
        scaling, origin = scale(module, rank)
    shape = (left[0] * right[0], left[1] * right[1], *right[2:])
    change = Change(shape, replace(made, scaling=scaling), origin, "kronecker")
    return finished(module, weight, change)


def _whole(module: Module, weight: str) -> Reading:
    """Return the recipes of differences that the file holds entry by entry, and nothing else."""
    return differences(module, Reading({}), "weight")


def _set(module: Module, weight: str) -> Reading:
    others = [part for part in module.tensors if part not in ("set_weight", "alpha", *ELSEWHERE)]
    if others:
        raise BadAdapter(
            f"{module.path}.set_weight: a value set when it is loaded, beside {others[0]}, which "
            "is added; not computed"
        )
    told = {weight: "1: the file holds the value itself"}
    return Reading({weight: Replaced(module.tensors["set_weight"])}, told)


def _ia3(module: Module, weight: str) -> Reading:
    factors, on_input = together(module, "weight", "on_input")
    columns = bool(on_input.read().reshape(-1)[:1].any())
    base = module.target.find(f"{module.path}.weight")
    size, side = numel(factors.shape), "inputs" if columns else "outputs"
    shape: tuple[int, ...] = (1, size) if columns else (size, 1)
    if base is not None:
        shape = base.shape
        if len(shape) < 2 or shape[1 if columns else 0] != size:
            raise BadAdapter(f"{module.path}: {size} factors for the {side} of {times(base)}")
    needs = f"{module.path}: (IA)³ multiplies the base"
    rule = Rebuilt(shape, Multiplied(factors, columns), "ia3", needs)
    told = {weight: f"1: {side} are multiplied by 1 + their factor"}
    return Reading({weight: rule}, told, spent={"on_input": (weight,)})


def _matrices(module: Module, *factors: LazyTensor) -> None:
    for factor in factors:
        if len(factor.shape) != 2 or 0 in factor.shape:
            raise BadAdapter(f"{module.path}: a factor of shape {times(factor)} is no matrix")


def _more(reading: Reading, name: str, recipe: Recipe) -> Reading:
    return replace(reading, recipes={**reading.recipes, name: recipe})


_ALGORITHMS: Mapping[str, Callable[[Module, str], Reading]] = {
    "lora": _lora,
    "loha": _loha,
    "lokr": _lokr,
    "lycoris-full": _whole,
    "norm": _whole,
    "set": _set,
    "ia3": _ia3,
}
