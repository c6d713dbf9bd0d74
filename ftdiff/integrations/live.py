"""A model in training, as a fine-tune: its own weights, an adapter's, or a saved checkpoint's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ftdiff.adapters import open_tuned
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import BadFile
from ftdiff.formats import Checkpoint, adapter_in, model_in, open_checkpoint
from ftdiff.formats.place import here
from ftdiff.formats.ties import tied

#: Classes of torch's that wrap a model, and where each holds it.
_WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DistributedDataParallel": "module",
    "DataParallel": "module",
}
#: The class of torch's that cuts parameters in pieces, one for each process.
_SHARDED = "FullyShardedDataParallel"


def unwrapped(model: Any) -> Any:
    """Return a model without what compiles it or copies its gradients among processes."""
    while type(model).__name__ in _WRAPPERS:
        model = getattr(model, _WRAPPERS[type(model).__name__])
    return model


def sharding(model: Any) -> str | None:
    """Say what has cut the parameters in pieces, "FSDP" or "ZeRO-3"; None where they are whole."""
    if any(type(one).__name__ == _SHARDED for one in model.modules()):
        return "FSDP"
    for weight in model.parameters():
        if hasattr(weight, "ds_id"):
            return "ZeRO-3"
        if hasattr(weight, "device_mesh"):  # a DTensor, of FSDP's second version too
            return "FSDP"
    return None


def is_adapter(model: Any) -> bool:
    """Say whether PEFT holds the model, so that an adapter is what is trained."""
    return hasattr(model, "peft_config") and hasattr(model, "active_adapters")


@contextmanager
def opened(model: Any, base: Checkpoint | None, name: str) -> Iterator[Tuned]:
    """Lend a model in training as a fine-tune called `name`; its weights are not copied.

    An adapter is written to a folder that is gone afterwards, and read as any adapter's.

    Raises
    ------
    BadFile, BadAdapter
        The adapter is of a kind that is not read.
    """
    if not is_adapter(model):
        yield replace(open_tuned(weights(model), base), source=name)
        return
    with TemporaryDirectory(prefix="ftdiff-") as folder:
        active = model.active_adapters[0]
        model.save_pretrained(folder, selected_adapters=[active], save_embedding_layers=False)
        place = Path(folder) if active == "default" else Path(folder) / active
        yield _called(open_tuned(place, base), name)


def weights(model: Any) -> Checkpoint:
    """Open a model's own weights; a parameter of several names stands under its first."""
    state = model.state_dict()
    seen: dict[tuple[Any, ...], str] = {}
    for name, tensor in state.items():
        seen.setdefault(_place(tensor), name)
    first = {*seen.values()}
    whole = open_checkpoint(model)
    return replace(whole, tensors={name: whole.tensors[name] for name in sorted(first)})


def _place(tensor: Any) -> tuple[Any, ...]:
    held = (tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
    return held if tensor.numel() else (id(tensor),)


def saved(folder: Path, base: Checkpoint | None, name: str) -> Tuned:
    """Open what a trainer saved of a model in pieces.

    Raises
    ------
    BadFile
        The checkpoint holds no weights in a form that is read, or there is none.
    """
    inside = sorted(folder.glob("pytorch_model_fsdp*")) if folder.is_dir() else []
    places = [folder] if model_in(here(folder)) or adapter_in(here(folder)) else inside
    if not places:
        raise BadFile(
            f"{folder}: no weights are saved in it that can be read (of ZeRO-3 they are with "
            "stage3_gather_16bit_weights_on_model_save)"
        )
    tuned = _called(open_tuned(places[0], base), name)
    if base is None or tuned.kind != "full":
        return tuned
    twice = tied(base.tensors, base.config)  # pieces are saved under all names of a parameter
    recipes = {key: recipe for key, recipe in tuned.recipes.items() if key not in twice}
    return replace(tuned, recipes=recipes)


def _called(tuned: Tuned, name: str) -> Tuned:
    return replace(tuned, source=name)
