"""What flows inside a model that runs: the states of its layers, taken by hooks as they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ftdiff.analyses.live_model.batches import Batch
from ftdiff.analyses.live_model.changes import Changes
from ftdiff.analyses.live_model.layers import Layer, layers
from ftdiff.analyses.live_model.opening import Live
from ftdiff.errors import BadCall, require
from ftdiff.naming import locate
from ftdiff.registry import Registry

#: What is taken of a layer. The last of transformers' `hidden_states` is no layer's: the final norm
#: is in it.
SITES: Registry[str] = Registry(
    "site",
    {
        "block": "what the layer hands on",
        "mlp": "what the MLP adds: its last projection's output",
        "attn": "what attention adds: its last projection's output",
        "mlp.in": "what the MLP's last projection is given",
    },
)


@dataclass(frozen=True, eq=False)
class Site:
    """One place of one layer.

    Attributes
    ----------
    name
        A name of `SITES`.
    stack, layer
        Of which layer.
    module
        Whose output is taken, or what it is given.
    """

    name: str
    stack: str
    layer: int
    module: Any

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it apart."""
        return self.name, self.stack, self.layer


def sites(live: Live, names: Sequence[str]) -> list[Site]:
    """Return these places of every layer that has them.

    Raises
    ------
    UnknownName
        There is no such place.
    BadCall
        The model has no layers that are run one after the other, or no layer has such a place.
    """
    for name in names:
        SITES[name]
    whole = layers(live)
    if not whole:
        raise BadCall(f"{live.source}: no list of layers is found in it")
    places, modules = locate(live.named), dict(live.model.named_modules())
    found = []
    for name in names:
        here = [
            Site(name, one.stack, one.index, module)
            for one in whole
            if (module := _module(one, name.partition(".")[0], places, modules)) is not None
            and (name != "mlp.in" or _projects(module))
        ]
        if not here:
            raise BadCall(f"{live.source}: no layer has a site {name!r} ({SITES[name]})")
        found += here
    return found


def _module(
    layer: Layer, block: str, places: Mapping[str, Any], modules: Mapping[str, Any]
) -> Any | None:
    """Return the module of a block in a layer: its last projection, or what holds all of it."""
    if block == "block":
        return layer.module
    mine = {
        name: place
        for name, place in places.items()
        if name.startswith(f"{layer.path}.") and place.block == block
    }
    role = "down" if block == "mlp" else "o"
    last = {name.rpartition(".")[0] for name, place in mine.items() if place.role == role}
    projections = [modules[path] for path in last if path in modules and _projects(modules[path])]
    if len(projections) == 1 and len(last) == 1:
        return projections[0]
    holder = _shared([name.split(".")[:-1] for name in mine])
    return modules.get(holder) if len(holder) > len(layer.path) else None


def _shared(paths: list[list[str]]) -> str:
    """Return the module that holds all of these."""
    kept = []
    for words in zip(*paths, strict=False):
        if len({*words}) > 1:
            break
        kept.append(words[0])
    return ".".join(kept)


def _projects(module: Any) -> bool:
    """Whether a module is one matrix; GPT-2's are stored on their side."""
    weight = getattr(module, "weight", None)
    return type(module).__name__ in ("Linear", "Conv1D") and getattr(weight, "ndim", 0) == 2


@dataclass(frozen=True, eq=False)
class States:
    """One forward pass.

    Attributes
    ----------
    hidden
        By the key of a site, a tensor (texts, length, d).
    logits
        (texts, length, vocabulary); None of a model without a head.
    """

    hidden: Mapping[tuple[str, str, int], Any]
    logits: Any | None


def states(live: Live, batch: Batch, wanted: Sequence[Site]) -> States:
    """Run a batch, and return what passes at these places."""
    torch = require("torch", "models", "a model that runs")
    hidden: dict[tuple[str, str, int], Any] = {}
    shape = batch.mask.shape

    def keep(site: Site, given: Any) -> None:
        state = given[0] if isinstance(given, tuple) else given
        hidden[site.key] = state.detach().reshape(*shape, state.shape[-1])

    with _hooked(wanted, keep), torch.no_grad():
        output = live.model(**batch.inputs)
    return States(hidden, getattr(output, "logits", None))


@contextmanager
def _hooked(wanted: Sequence[Site], keep: Callable[[Site, Any], None]) -> Iterator[None]:
    handles = []
    try:
        for site in wanted:
            if site.name.endswith(".in"):

                def entering(module: Any, args: Any, site: Site = site) -> None:
                    keep(site, args)

                handles.append(site.module.register_forward_pre_hook(entering))
            else:

                def leaving(module: Any, args: Any, output: Any, site: Site = site) -> None:
                    keep(site, output)

                handles.append(site.module.register_forward_hook(leaving))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def raised(live: Live, dtype: str) -> Iterator[None]:
    """Run a model in a wider dtype; afterwards it holds the very tensors that it held."""
    torch = require("torch", "models", "a model that runs")
    wide = getattr(torch, dtype)
    held = [*live.parameters().values(), *live.model.buffers()]
    before = [one.data for one in held]
    try:
        for one in held:
            if one.is_floating_point():
                one.data = one.data.to(wide)
        yield
    finally:
        for one, data in zip(held, before, strict=True):
            one.data = data


#: Called with a parameter's name and three sums for each text: of (ΔW·x)², (W·x)² and (rounding)².
Summed = Callable[[str, Any, Any, Any], None]


def products(live: Live, changes: Changes, batch: Batch, take: Summed) -> None:
    """Run the base on a batch, and sum for each matrix that moves what its change adds.

    Beside it stand the squares of its output, and of what W·x is rounded by in the dtype of the
    forward pass, against float64. A tied matrix counts where it embeds; what is no matrix of a
    linear map or an embedding is left out.
    """
    torch = require("torch", "models", "a model that runs")
    modules: dict[str, Any] = dict(live.model.named_modules())
    handles = []
    whole = (batch.mask.numel(), batch.mask.shape[1])

    def watch(name: str, module: Any) -> Callable[..., None]:
        def leaving(_: Any, args: Any, output: Any) -> None:
            if output[..., 0].numel() not in whole:
                return  # an expert is given some tokens only
            given, delta = args[0], changes.delta(name)
            moved = _mapped(module, given, delta)
            exact = _mapped(module, given, module.weight)
            bias = getattr(module, "bias", None)
            plain = output.double() if bias is None else output.double() - bias.double()
            take(name, *(_squares(one, batch.mask) for one in (moved, exact, plain - exact)))

        return leaving

    try:
        for name in changes:
            module = modules[name.rpartition(".")[0]]
            if name.endswith(".weight") and _measurable(module):
                handles.append(module.register_forward_hook(watch(name, module)))
        with torch.no_grad():
            live.model(**batch.inputs)
    finally:
        for handle in handles:
            handle.remove()


def _measurable(module: Any) -> bool:
    return _projects(module) or type(module).__name__ == "Embedding"


def _mapped(module: Any, given: Any, weight: Any) -> Any:
    """Return what a weight, or its first rows, make of an input, in float64."""
    from torch.nn.functional import embedding, linear

    if type(module).__name__ == "Embedding":
        there = given < len(weight)
        return embedding(given.clamp(max=len(weight) - 1), weight.double()) * there[..., None]
    wide, matrix = given.double(), weight.double()
    return wide @ matrix if type(module).__name__ == "Conv1D" else linear(wide, matrix)


def _squares(values: Any, mask: Any) -> Any:
    """Return the sum of squares over the tokens of each text.

    Positions are embedded once for all texts: then there is one row of them.
    """
    by_token = (values.double() ** 2).sum(dim=-1).reshape(-1, mask.shape[1])
    return (by_token * mask).sum(dim=1).cpu().numpy()
