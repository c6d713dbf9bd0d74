"""LoHa: ΔW = α/r · (w1_a w1_b) ∘ (w2_a w2_b), with a core in each pair for a convolution's kernel.

Hyeon-Woo, Ye-Bin and Oh, FedPara, ICLR 2022.
"""

from __future__ import annotations

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft import tensors as parts
from ftdiff.adapters.peft.closed_form import ClosedForm, among
from ftdiff.adapters.peft.config_numbers import over_rank
from ftdiff.adapters.peft.orientation import stored
from ftdiff.adapters.products import Loha
from ftdiff.deltas.recipes import Added
from ftdiff.errors import BadAdapter
from ftdiff.tensors import LazyTensor, numel

_PAIRS = (("hada_w1_a", "hada_w1_b"), ("hada_w2_a", "hada_w2_b"))
_CORES = ("hada_t1", "hada_t2")
_PARTS = (*_PAIRS[0], *_PAIRS[1], *_CORES)


def read(module: Module) -> Reading:
    """Return the recipe of a module's weight."""
    w1_a, w1_b, w2_a, w2_b = parts.needed(module, *_PAIRS[0], *_PAIRS[1])
    t1, t2 = (module.tensors.get(core) for core in _CORES)
    if (t1 is None) != (t2 is None):
        raise BadAdapter(f"{module.path}: adapter has one of {' and '.join(_CORES)}, not both")
    sides = [pair(module, *found) for found in ((w1_a, w1_b, t1), (w2_a, w2_b, t2))]
    if sides[0] != sides[1]:
        told = " and ".join(parts.times(side) for side in sides)
        raise BadAdapter(f"{module.path}: the two products are {told}, not of one shape")
    scaling, origin = over_rank(module, "alpha", w1_b.shape[0])
    shape, _ = stored(module, sides[0][0], numel(sides[0][1:]))
    name = module.target.name(f"{module.path}.weight")
    made = Loha(w1_a, w1_b, w2_a, w2_b, scaling, t1, t2)
    return Reading({name: Added(shape, made, "hadamard")}, {name: origin})


def pair(module: Module, a: LazyTensor, b: LazyTensor, core: LazyTensor | None) -> tuple[int, ...]:
    """Return the shape of a pair's product, a core's kernel last.

    Raises
    ------
    BadAdapter
        The factors do not multiply.
    """
    if core is None and a.shape[1] == b.shape[0]:
        return a.shape[0], b.shape[1]
    if core is not None and core.shape[:2] == (a.shape[0], b.shape[0]):
        return a.shape[1], b.shape[1], *core.shape[2:]
    told = [parts.times(t.shape) for t in (a, b, core) if t is not None]
    raise BadAdapter(f"{module.path}: factors {', '.join(told)} do not multiply")


FORM = ClosedForm("loha", among(*_PARTS), read)
