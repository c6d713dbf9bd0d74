"""Place every tensor name of a file, from names alone: which stack, layer, block, role it means.

To add an architecture's names: a table in `families/<family>.toml`, or a word that means the same
everywhere in `single_words.toml`, no Python; its type in `fixtures/names/make_trees.py` is the
test.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from ftdiff.naming.layer_lists import Place, cut
from ftdiff.naming.roles import Roles
from ftdiff.naming.stacks import Stacks
from ftdiff.naming.tables import Words, read_words

__all__ = ["PLACE", "Address", "component_order", "locate", "strip_wrappers"]

_FIRST = (
    *("attn.q", "attn.k", "attn.v", "attn.qkv", "attn.o"),
    *("mlp.up", "mlp.down", "mlp.gate", "mlp.gate_up"),
)
_GROUPS = (
    "attn.",
    "mlp.",
    "mlp.router",
    "mlp.shared",
    "ssm.",
    "conv.",
    "cond.",
    "norm.",
    "embed.",
    "head.",
)


#: What an address says of a tensor, in the order of a frame's columns.
PLACE = ("stack", "layer", "sublayer", "block", "role", "component", "module", "param", "expert")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a tensor belongs.

    Attributes
    ----------
    stack
        Which tower, where a file has several: "encoder", "vision", …; else "".
    layer
        Index of the block, or None: embeddings, heads, final norms, connectors. Where lists of
        blocks are nested, the index in the outermost.
    sublayer
        Index in each list of blocks inside the layer, "1.0"; None where there is none.
    block
        attn, mlp, ssm, conv, cond (what lets a time or a text steer a block: adaptive norms, time
        projections), norm, embed, head or other.
    role
        q, k, v, o, up, down, gate, …; "" where no table names it.
    module
        As spelled in the file inside the layer, without param and the indices of sublayer and
        expert: `self_attn.q_proj`, `blocks.attn.qkv`.
        Outside the layers, without wrappers and the stack's path: `embed_tokens`.
    param
        weight, bias, …; a tensor that is a module's own parameter (`mlp.experts.down_proj`) is its
        "weight".
    expert
        Index of the expert, or None for other tensors and for experts fused in one tensor.
    name
        The whole name, as in the file.
    """

    stack: str
    layer: int | None
    sublayer: str | None
    block: str
    role: str
    module: str
    param: str
    expert: int | None
    name: str

    @property
    def component(self) -> str:
        """`block.role`, or the module as spelled where no role is known."""
        return f"{self.block}.{self.role}" if self.role else self.module or self.param

    def columns(self) -> dict[str, str | int | None]:
        """Return the name and the words of `PLACE`, as the columns of a frame."""
        return {"tensor": self.name, **{word: getattr(self, word) for word in PLACE}}


def locate(names: Iterable[str]) -> dict[str, Address]:
    """Give every name of one file set its place.

    Which integers in the names count blocks is learned from the whole set (`layer_lists`), so that
    an unknown architecture still gets its layers; the tables in `naming/` only add roles.

    Parameters
    ----------
    names
        All tensor names of a checkpoint, or a mapping from them.

    Returns
    -------
    dict of str to Address
        One address for each name, in the order given. No name is refused or dropped.

    Examples
    --------
    >>> names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(2)]
    >>> place = locate(names)[names[1]]
    >>> place.layer, place.component, place.param
    (1, 'attn.q', 'weight')
    """
    return dict(_located(tuple(dict.fromkeys(names))))


@lru_cache(maxsize=8)  # the names of a base, and of what is held against it, are asked for again
def _located(ordered: tuple[str, ...]) -> dict[str, Address]:
    words = read_words()
    cuts = cut(ordered, words)
    places = {one.place for one in cuts}
    containers = {place.container for place in places if place.container is not None}
    stacks = Stacks.learn(containers, words)
    modules = {place: _module(place, stacks, words) for place in places}
    found = ((place.container, module) for place, (_, module, _) in modules.items())
    roles = Roles.of(found, words)
    labels = {
        place: roles.label(stack, module, place, own=not place.tail.endswith(param))
        for place, (stack, module, param) in modules.items()
    }
    places_of = {}
    for name, place, layer, sublayer, expert in cuts:
        stack, module, param = modules[place]
        block, role = labels[place]
        places_of[name] = Address(stack, layer, sublayer, block, role, module, param, expert, name)
    return {name: places_of[name] for name in ordered}


def _module(place: Place, stacks: Stacks, words: Words) -> tuple[str, str, str]:
    """Stack, module and param of what is at one place."""
    path = f"{place.inner}.{place.tail}" if place.inner else place.tail
    module, param = words.split_param(path)
    if place.container is None:
        return *stacks.split(module), param
    return stacks.of[place.container], module, param


def strip_wrappers(name: str) -> str:
    """Drop the words that training and wrapping libraries put around a model's own names.

    Parameters
    ----------
    name
        A tensor name as in a file.

    Returns
    -------
    str
        The name without leading wrapper words (`model.`, `base_model.model.`, `language_model.`)
        and without those that occur anywhere (`_orig_mod.`, `base_layer.`). The last word stays.

    Examples
    --------
    >>> strip_wrappers("base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight")
    'layers.0.self_attn.q_proj.weight'
    """
    words = read_words()
    return words.unwrap(name, words.wrappers | words.main_towers)


def component_order(components: Iterable[str]) -> list[str]:
    """Sort components as columns: q, k, v, o, up, down, gate, then the rest by block.

    Fused projections stand where their parts would; what has no role comes last, by alphabet.

    Examples
    --------
    >>> component_order(["norm.input", "mlp.gate", "lm.x", "attn.o", "mlp.router", "attn.q"])
    ['attn.q', 'attn.o', 'mlp.gate', 'mlp.router', 'norm.input', 'lm.x']
    """

    def rank(component: str) -> tuple[int, int, str]:
        if component in _FIRST:
            return 0, _FIRST.index(component), component
        fits = [i for i, start in enumerate(_GROUPS, 1) if component.startswith(start)]
        return max(fits, default=len(_GROUPS) + 1), 0, component

    return sorted(set(components), key=rank)
