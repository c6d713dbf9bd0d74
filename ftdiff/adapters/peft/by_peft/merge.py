"""One module of a model, mounted alone at its place, adapted and merged by PEFT itself."""

from __future__ import annotations

import dataclasses
import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ftdiff.adapters.peft.by_peft.module_order import in_order
from ftdiff.adapters.peft.by_peft.sizes import refuse_outsized
from ftdiff.errors import BadAdapter, require
from ftdiff.tensors import Array, LazyTensor, matrix_shape

#: What PEFT, torch and transformers raise on files that do not fit them.
_FOREIGN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_PREFIX = "base_model.model."
_BASE = "base_layer."
#: PEFT's state is global in places (warnings, random generators), so modules take turns.
_TURN = threading.Lock()


@dataclass(frozen=True)
class Leaf:
    """A module as it is mounted.

    Parameters
    ----------
    path
        Where: its dotted path.
    kind
        linear, conv1d (in × out, as in GPT-2), embedding, convolution.
    shape
        The weight's, as stored.
    """

    path: str
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """All that one module's merge needs; pickled with the recipes of its tensors.

    Attributes
    ----------
    leaf
        The module.
    weight, bias
        Its tensors in the base.
    settings
        What decides the change, from the adapter's configuration, as JSON.
    tensors
        The module's keys as saved, those that all modules share included.
    others
        Further targets, mounted without memory, whose shapes or places matter.
    model
        The base's configuration as JSON, where the model's order has to be known; else "".
    """

    leaf: Leaf
    weight: LazyTensor
    bias: LazyTensor | None
    settings: str
    tensors: tuple[tuple[str, LazyTensor], ...]
    others: tuple[Leaf, ...] = ()
    model: str = ""


@dataclass(frozen=True)
class Merge:
    """What becomes the change of one tensor of a module.

    Parameters
    ----------
    job
        The module's merge.
    part
        "weight" or "bias".
    """

    job: Job
    part: str

    def make(self, base: LazyTensor) -> Merge:
        """Return itself: the base that is merged into is the job's."""
        return self

    def rows(self, W: Array, start: int) -> Array:
        """Return ΔW for the rows of W that begin at row `start`.

        Raises
        ------
        BadAdapter, MissingExtra
            PEFT is not installed, or refuses the module.
        """
        with _TURN:
            dW = _merged(self.job)[self.part]
        return dW[start : start + len(W)]


@lru_cache(maxsize=2)
def _merged(job: Job) -> dict[str, Array]:
    """Return merged − base of every tensor of the module, float32, as matrices."""
    kind = json.loads(job.settings)["peft_type"]
    peft = require("peft", "peft", f"the change of a {kind} adapter")
    torch = require("torch", "peft", f"the change of a {kind} adapter")
    before = {"weight": _float32(job.weight)}
    if job.bias is not None:
        before["bias"] = _float32(job.bias)
    checked = torch.sparse.check_sparse_tensor_invariants(True)  # else indices write anywhere
    with _translated(job.leaf.path, peft.__version__), torch.no_grad(), checked:
        after = _merge(job, before, peft, torch)
    return {part: (after[part] - W).reshape(matrix_shape(W.shape)) for part, W in before.items()}


def _merge(job: Job, before: dict[str, Array], peft: Any, torch: Any) -> dict[str, Array]:
    path = job.leaf.path
    shapes = [job.leaf.shape, *(tensor.shape for _, tensor in job.tensors)]
    refuse_outsized(json.loads(job.settings), shapes)
    root = torch.nn.Module()
    places = {leaf.path: _hollow(leaf, torch) for leaf in job.others}
    places[path] = _module(job.leaf, before, torch)
    order = in_order(list(places), job.model) if job.model else list(places)
    for place in order:
        _mount(root, place, places[place], torch)
    model = peft.get_peft_model(root, _config(job, order, peft)).eval()
    given = {key: _tensor(tensor, torch) for key, tensor in job.tensors}
    _load(model, given, path, peft)
    layer = model.base_model.model.get_submodule(path)
    if hasattr(layer, "frod_U"):  # made from the projections at hand: those of the file, now
        _project_again(layer, model, peft)
        _load(model, given, path, peft)
    layer.merge()
    base = layer.get_base_layer()
    return {part: getattr(base, part).detach().to(torch.float32).numpy() for part in before}


def _load(model: Any, given: dict[str, Any], path: str, peft: Any) -> None:
    """Set the module's tensors, and complain of every one that has no place, or no value."""
    here = f"{_PREFIX}{path}."
    outcome = peft.set_peft_model_state_dict(model, dict(given))
    saved = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    shared = {
        _kind(key) for key in saved if _concerns(key, "")
    }  # other modules have more of a kind
    strange = [
        key
        for key in outcome.unexpected_keys
        if key.startswith(here) or (_concerns(key, "") and _kind(key) not in shared)
    ]
    if strange:
        name = strange[0].removeprefix(here).replace(".default", "")
        raise BadAdapter(f"{path}: peft {peft.__version__} has no place for {name}")
    missing = [key for key in saved if _concerns(key, here) and key not in given]
    if missing:
        raise BadAdapter(f"{path}: the adapter has no {missing[0].removeprefix(here)}")


def _concerns(key: str, here: str) -> bool:
    """Say whether a key is the module's, or of what modules share."""
    return bool(here and key.startswith(here)) or not key.startswith(_PREFIX)


def _kind(key: str) -> str:
    """Return what a shared tensor is called, whichever modules share it: `frod_V` of `frod_V.q`."""
    return key.removeprefix("base_model.").partition(".")[0]


def _config(job: Job, targets: list[str], peft: Any) -> Any:
    settings = json.loads(job.settings)
    kind = settings["peft_type"]
    known = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING.get(kind)
    if known is None:
        raise BadAdapter(
            f"adapter_config.json: peft {peft.__version__} has no type {kind}; update it"
        )
    fields = {field.name for field in dataclasses.fields(known)}
    strange = sorted(name for name, value in settings.items() if value and name not in fields)
    if strange:
        raise BadAdapter(
            f"adapter_config.json: peft {peft.__version__} does not know {strange[0]} of {kind}; "
            "update it"
        )
    settings = {name: value for name, value in settings.items() if name in fields}
    return known(**{**settings, "target_modules": targets})


def _project_again(layer: Any, model: Any, peft: Any) -> None:
    """Have FRoD solve for the rest of each product from the projections that were loaded."""
    config = model.peft_config["default"]
    layer.update_layer(
        "default", layer.frod_V, layer.frod_s_indices, layer.frod_s_size, config=config
    )


def _module(leaf: Leaf, values: dict[str, Array], torch: Any) -> Any:
    module = _hollow(leaf, torch)
    for part, W in values.items():
        module.register_parameter(part, torch.nn.Parameter(torch.tensor(W), requires_grad=False))
    return module


def _hollow(leaf: Leaf, torch: Any) -> Any:
    """Return a module of the right shape that holds one number."""
    nn, shape = torch.nn, leaf.shape
    with torch.device("meta"):
        if leaf.kind == "embedding":
            module = nn.Embedding(*shape)
        elif leaf.kind == "conv1d":
            transposed = require("transformers.pytorch_utils", "peft", "a module stored in × out")
            module = transposed.Conv1D(shape[1], shape[0])
            module.register_parameter("bias", None)
        elif leaf.kind == "convolution":
            made = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[len(shape)]
            module = made(shape[1], shape[0], shape[2:], bias=False)
        else:
            module = nn.Linear(shape[1], shape[0], bias=False)
    module.register_parameter(
        "weight", nn.Parameter(torch.zeros(1).expand(shape), requires_grad=False)
    )
    return module


def _mount(root: Any, path: str, module: Any, torch: Any) -> None:
    *folders, name = path.split(".")
    for folder in folders:
        if folder not in root._modules:
            root.add_module(folder, torch.nn.Module())
        root = root._modules[folder]
    root.add_module(name, module)


def _float32(tensor: LazyTensor) -> Array:
    return tensor.read().astype(np.float32)


def _tensor(tensor: LazyTensor, torch: Any) -> Any:
    values = tensor.read()
    whole = values.dtype.kind in "biu"
    return torch.from_numpy(values if whole else values.astype(np.float32))


@contextmanager
def _translated(path: str, version: str) -> Iterator[None]:
    """Turn what PEFT raises into a sentence about the module, and keep its warnings to itself."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except _FOREIGN as error:
        told = " ".join(str(error).split()) or type(error).__name__
        told = told if len(told) < 300 else told[:297] + "…"
        raise BadAdapter(f"{path}: peft {version} cannot merge this module: {told}") from error
