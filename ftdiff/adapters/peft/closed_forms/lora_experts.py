"""LoRA on stacked experts: one pair of factors for all of them, and no name of what it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import permutations

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft.closed_forms.expert_files import PART_ROWS, Part, split_experts
from ftdiff.adapters.peft.closed_forms.lora_factors import half, mismatch, scale, times
from ftdiff.adapters.peft.config_numbers import number
from ftdiff.deltas.recipes import Added, Recipe, Unreadable
from ftdiff.deltas.recipes.experts import ExpertProduct, StackedProduct
from ftdiff.errors import BadAdapter
from ftdiff.tensors import LazyTensor

_NESTED = "base_layer."
#: The order in which model code defines experts' parameters; PEFT nests the first one innermost.
_DEFINED = ("gate_up_proj", "w1", "v1", "down_proj", "w2")
#: Model types whose experts store in × out.
_TRANSPOSED = ("gpt_oss", "aria", "aria_text", "openai_privacy_filter")


@dataclass(frozen=True)
class Slot:
    """A parameter that factors may belong to, as headers tell of it.

    Attributes
    ----------
    name
        The parameter's, inside its module.
    shape
        The stacked tensor's; None where there is no base.
    parts
        The base's own tensors, where it stores each expert apart; else empty.
    """

    name: str
    shape: tuple[int, ...] | None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Fit:
    """One way in which levels of factors belong to parameters."""

    slots: tuple[Slot, ...]
    transposed: bool

    @property
    def defined(self) -> bool:
        """Whether this is the order in which model code defines the parameters."""
        order = [_DEFINED.index(s.name) if s.name in _DEFINED else -1 for s in self.slots]
        return -1 not in order and order == sorted(order)


def targeted(module: Module) -> tuple[str, ...]:
    """Return the parameters of this module that the configuration targets by name."""
    told = module.config.get("target_parameters")
    entries = [entry for entry in told if isinstance(entry, str)] if isinstance(told, list) else []
    found: dict[str, None] = {}
    for entry in entries:
        path, _, name = entry.rpartition(".")
        inside = f".{module.path}".endswith(f".{path}") if path else _has(module, name)
        if name and inside:
            found[name] = None
    return tuple(found)


def _has(module: Module, name: str) -> bool:
    """Say whether a module has a parameter that is targeted by its own name, wherever it is."""
    if not module.target.names:
        return module.path.rpartition(".")[2] == "experts"
    there = module.target.find(f"{module.path}.{name}") is not None
    return there or name in split_experts(module.target, module.path)


def read(module: Module) -> Reading:
    """Return the recipes of a module's stacked parameters, or of every expert where they are apart.

    The files do not say which pair of factors belongs to which parameter, nor how the parameter
    is stored: shapes decide, then what is known of the model type. What stays open is refused.
    """
    levels, unmatched = _levels(module)
    slots = _slots(module)
    for A, B in levels:
        wrong = half(module.path, A, B) if A is None or B is None else mismatch(module.path, A, B)
        if wrong is not None:
            return _all_unreadable(module, slots, wrong.reason, unmatched)
    pairs = [(A, B) for A, B in levels if A is not None and B is not None]
    if len(slots) != len(pairs):
        names = ", ".join(slot.name for slot in slots) or "none"
        reason = f"{module.path}: {len(pairs)} pairs of factors for these parameters: {names}"
        return _all_unreadable(module, slots, reason, unmatched)
    fit = _fit(module, pairs, slots)
    if isinstance(fit, str):
        return _all_unreadable(module, slots, fit, unmatched)
    recipes: dict[str, Recipe] = {}
    scalings: dict[str, str] = {}
    for (A, B), slot in zip(pairs, fit.slots, strict=True):
        made, origin = _recipes(module, slot, A, B, fit.transposed)
        recipes |= made
        scalings |= dict.fromkeys(made, origin)
    return Reading(recipes, scalings, unmatched)


def _levels(
    module: Module,
) -> tuple[list[tuple[LazyTensor | None, LazyTensor | None]], dict[str, str]]:
    """Return the pairs of factors, innermost first, and the keys that are none."""
    found: dict[int, dict[str, LazyTensor]] = {}
    unmatched: dict[str, str] = {}
    for suffix, tensor in module.tensors.items():
        end = suffix.replace(_NESTED, "")
        if end in ("lora_A.weight", "lora_B.weight"):
            found.setdefault(suffix.count(_NESTED), {})[end] = tensor
        else:
            unmatched[suffix] = f"no part of a parameter's LoRA is called {end}"
    pairs = [found[depth] for depth in sorted(found, reverse=True)]
    return [(pair.get("lora_A.weight"), pair.get("lora_B.weight")) for pair in pairs], unmatched


def _slots(module: Module) -> list[Slot]:
    names = targeted(module)
    split = split_experts(module.target, module.path)
    slots = []
    for name in names:
        base = module.target.find(f"{module.path}.{name}")
        parts = split.get(name, ())
        if base is not None:
            slots.append(Slot(name, base.shape))
        elif parts:
            slots.append(Slot(name, _stacked_shape(name, parts), parts))
    return slots or [Slot(name, None) for name in names]


def _stacked_shape(name: str, parts: tuple[Part, ...]) -> tuple[int, ...]:
    out, into = parts[0].shape
    count = 1 + max(part.expert for part in parts)
    return count, out * PART_ROWS[name], into


def _fit(
    module: Module, pairs: list[tuple[LazyTensor, LazyTensor]], slots: list[Slot]
) -> Fit | str:
    if len(slots) > len(_DEFINED):
        return f"{module.path}: {len(slots)} targeted parameters are more than experts have"
    if slots[0].shape is None:
        return _fit_alone(pairs, slots)
    fits = [
        Fit(order, transposed)
        for transposed in (False, True)
        for order in permutations(slots)
        if all(_fits(*pair, slot, transposed) for pair, slot in zip(pairs, order, strict=True))
    ]
    if not fits:
        shapes = " and ".join(f"{times(A)}, {times(B)}" for A, B in pairs)
        stored = " and ".join("×".join(map(str, slot.shape or ())) for slot in slots)
        return f"{module.path}: factors {shapes} fit no order of the parameters {stored}"
    family = module.target.config.get("model_type")
    if len({fit.transposed for fit in fits}) > 1 and isinstance(family, str):
        fits = [fit for fit in fits if fit.transposed == (family in _TRANSPOSED)]
    if len(fits) > 1:
        fits = [fit for fit in fits if fit.defined]
    if len(fits) == 1 or (fits and fits[0].slots[0].shape and len(fits[0].slots[0].shape) == 2):
        return fits[0]
    return (
        f"{module.path}: its experts are square, and nothing says how they are stored; "
        "put the base's config.json beside its weights"
    )


def _fits(A: LazyTensor, B: LazyTensor, slot: Slot, transposed: bool) -> bool:
    shape, out, into = slot.shape or (), B.shape[0], A.shape[1]
    if len(shape) == 2:
        return shape == (out, into)
    if len(shape) != 3 or not shape[0] or A.shape[0] % shape[0]:
        return False
    return shape[1:] == ((into, out) if transposed else (out, into))


def _fit_alone(pairs: list[tuple[LazyTensor, LazyTensor]], slots: list[Slot]) -> Fit:
    """Without a base: the defined order; what leaves the hidden size enters it again."""
    known = [slot for name in _DEFINED for slot in slots if slot.name == name]
    return Fit((*known, *(slot for slot in slots if slot not in known)), False)


def _recipes(
    module: Module, slot: Slot, A: LazyTensor, B: LazyTensor, transposed: bool
) -> tuple[Mapping[str, Recipe], str]:
    at = replace(module, path=f"{module.path}.{slot.name}")  # patterns see the parameter's name
    experts = _count(at, slot, A)
    rank = A.shape[0] // experts
    scaling, origin = scale(at, rank)
    out, into = B.shape[0], A.shape[1]
    if slot.parts:
        rows = out // PART_ROWS[slot.name]
        made: dict[str, Recipe] = {}
        for part in slot.parts:
            cut = ExpertProduct(A, B, scaling, experts, part.expert, rows * part.half, rows)
            made[part.name] = Added(part.shape, cut)
        return made, origin
    high, wide = (into, out) if transposed else (out, into)
    shape = slot.shape or (experts, high, wide)
    if len(shape) == 2:
        high, wide = shape
    product = StackedProduct(A, B, scaling, experts, transposed)
    whole = Added(shape, product, view=(experts * high, wide))
    return {module.target.name(at.path): whole}, origin


def _count(module: Module, slot: Slot, A: LazyTensor) -> int:
    if slot.shape is not None:
        return slot.shape[0] if len(slot.shape) == 3 else 1
    rank, _ = number(module, "r", "rank_pattern")
    if rank < 1 or A.shape[0] % rank:
        raise BadAdapter(
            f"{module.path}: lora_A ({times(A)}) is no stack of rank {rank:g}, as the "
            "configuration has it; give the base, which tells the number of experts"
        )
    return A.shape[0] // int(rank)


def _all_unreadable(
    module: Module, slots: list[Slot], reason: str, unmatched: dict[str, str]
) -> Reading:
    names = [slot.name for slot in slots] or list(targeted(module))
    recipes: dict[str, Recipe] = {}
    for slot in slots:
        for part in slot.parts:
            recipes[part.name] = Unreadable(part.shape, reason)
    for name in names:
        if not any(slot.name == name and slot.parts for slot in slots):
            found = module.target.find(f"{module.path}.{name}")
            shape = found.shape if found is not None else ()
            recipes[module.target.name(f"{module.path}.{name}")] = Unreadable(shape, reason)
    return Reading(recipes, unmatched=unmatched)
