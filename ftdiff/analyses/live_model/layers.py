"""The layers of a model that runs, as modules, under the numbers that their names have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ftdiff.analyses.live_model.opening import Live
from ftdiff.errors import BadCall, require
from ftdiff.naming import locate


@dataclass(frozen=True, eq=False)
class Layer:
    """One block of a stack.

    Attributes
    ----------
    stack, index
        Which, as addresses of its tensors say.
    path
        What the module is called.
    module
        Itself.
    """

    stack: str
    index: int
    path: str
    module: Any


def layers(live: Live) -> list[Layer]:
    """Return every layer, in the order of the model."""
    nn = require("torch.nn", "models", "a model that runs")
    places = locate(live.named)
    found: list[Layer] = []
    outer: list[str] = []
    for path, module in live.model.named_modules():
        if not isinstance(module, nn.ModuleList) or any(path.startswith(f"{at}.") for at in outer):
            continue
        inside = [
            next(
                ((a.stack, a.layer) for n, a in places.items() if n.startswith(f"{path}.{i}.")),
                None,
            )
            for i in range(len(module))
        ]
        if any(place is None or place[1] != i for i, place in enumerate(inside)):
            continue
        outer.append(path)
        for i, (place, block) in enumerate(zip(inside, module, strict=True)):
            if place is not None:
                found.append(Layer(place[0], i, f"{path}.{i}", block))
    return found


def layer(live: Live, index: int, stack: str | None = None) -> Layer:
    """Return one layer; of a model with one stack, whatever that is called.

    Raises
    ------
    BadCall
        The model has no such layer, or several.
    """
    every = layers(live)
    named = stack is not None and len({one.stack for one in every}) > 1
    here = [one for one in every if one.index == index and (not named or one.stack == stack)]
    if len(here) != 1:
        told = "no layer" if not here else f"{len(here)} layers (of several stacks)"
        raise BadCall(f"{live.source}: {told} {index} to be run")
    return here[0]


@contextmanager
def skipping(live: Live, index: int, stack: str | None = None) -> Iterator[None]:
    """Let a layer hand on what it is given, unchanged.

    Raises
    ------
    BadCall
        The model has no such layer.
    """

    def hand_on(module: Any, args: Any, kwargs: Any, output: Any) -> Any:
        given = args[0] if args else kwargs["hidden_states"]
        return (given, *output[1:]) if isinstance(output, tuple) else given

    handle = layer(live, index, stack).module.register_forward_hook(hand_on, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
