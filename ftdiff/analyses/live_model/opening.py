"""Open a model that runs, from local files alone: no code of the model's own is ever executed."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ftdiff.adapters import identify
from ftdiff.analyses.finding import counted
from ftdiff.errors import BadCall, BadFile, Mismatch, one_line, require
from ftdiff.formats import open_checkpoint

Kind: TypeAlias = Literal["causal", "masked", "bare"]

#: The class of transformers' that opens a model of each kind.
_CLASSES: Mapping[str, str] = {
    "causal": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "bare": "AutoModel",
}
#: Dtypes that a forward pass is taken in.
DTYPES = ("float32", "bfloat16", "float16", "float64")
#: Files of which one at least lies beside a model that has a tokenizer.
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
#: How configurations name their numbers of layers.
_OF_LAYERS = re.compile(r"(num|n)_(\w+_)?layers?")


@dataclass(frozen=True, eq=False)
class Live:
    """A model that runs.

    Attributes
    ----------
    model
        Of transformers', in eval mode.
    tokenizer
        Its tokenizer, or None where no file of one lies beside it.
    kind
        "causal": predicts the next token; "masked": hidden ones; "bare": has no head.
    device, dtype, source
        Where it runs, in what, and the path it was opened from.
    notes
        What was odd, in sentences.
    """

    model: Any
    tokenizer: Any | None
    kind: Kind
    device: str
    dtype: str
    source: str
    notes: tuple[str, ...] = ()

    @cached_property
    def named(self) -> dict[str, tuple[str, Any]]:
        """By every name of a parameter, tied ones under each: its first name, and itself."""
        first: dict[int, str] = {}
        found = {}
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            found[name] = (first.setdefault(id(parameter), name), parameter)
        return found

    def parameters(self) -> dict[str, Any]:
        """Return every parameter by its name; one that is tied is there once."""
        return {name: held for name, (first, held) in self.named.items() if name == first}


def open_(
    path: str | os.PathLike[str],
    *,
    device: str = "cpu",
    dtype: str = "float32",
    heads: Sequence[Kind] = ("causal", "masked"),
) -> Live:
    """Open a model with transformers.

    Parameters
    ----------
    path
        A folder with config.json and weights, one of its files, or a .gguf file.
    device
        A device of torch's.
    dtype
        What the forward pass is taken in, one of `DTYPES`.
    heads
        The kinds that will do, in the order in which they are tried.

    Raises
    ------
    BadFile, Mismatch
        It is no whole model of transformers', or one without a head that will do.
    BadCall
        Torch does not see the device, or the dtype is not known.
    MissingExtra
        Torch or transformers is not installed.
    """
    torch = require("torch", "models", "a model that runs")
    transformers = require("transformers", "models", "a model that runs")
    if dtype not in DTYPES:
        raise BadCall(f"dtype {dtype!r}: there are {', '.join(DTYPES)}")
    seen(device)
    folder, options = _place(path)
    _counted(path)
    options |= {"local_files_only": True, "trust_remote_code": False}
    with _quiet():
        config = _translated(
            path, lambda: transformers.AutoConfig.from_pretrained(folder, **options)
        )
        _refuse(config, path)
        reasons = []
        for kind in _kinds(config, heads):
            model, why = _loaded(transformers, kind, path, folder, options, getattr(torch, dtype))
            if model is None:
                reasons.append(why)
                continue
            model = model.to(device).eval()
            model.requires_grad_(True)
            if hasattr(model.config, "use_cache"):
                model.config.use_cache = False
            tokenizer, told = _tokenizer(transformers, folder, options)
            return Live(model, tokenizer, kind, device, dtype, str(path), (*why, *told))
    tried = "; ".join(str(reason) for reason in reasons) or "transformers knows no such head of it"
    raise Mismatch(f"{path}: no model that is {' or '.join(heads)}: {tried}")


def seen(device: str) -> None:
    """Check that torch sees a device.

    Raises
    ------
    BadCall
        It does not.
    """
    torch = require("torch", "models", "a model that runs")
    try:
        torch.zeros(1, device=device).item()  # "meta" has no values
    except (RuntimeError, AssertionError) as error:
        first = one_line(str(error).split("\n")[0], 120)
        raise BadCall(f"device {device!r}: torch does not see it ({first})") from error


def _place(path: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a model, and what tells transformers which file of it is meant."""
    found = identify(path)
    if found.model is None:
        raise Mismatch(f"{path}: an adapter, not a model that runs: give its base")
    if not found.path.folder.is_local:
        raise BadCall(f"{path}: a model that runs has to be on this machine: hf download first")
    place = Path(str(found.path))
    if place.suffix == ".gguf":
        return place.parent, {"gguf_file": place.name}
    folder = place if place.is_dir() else place.parent
    if not (folder / "config.json").is_file():
        raise BadFile(f"{folder}: no config.json: it cannot be run")
    if (folder / "adapter_config.json").is_file():
        raise Mismatch(f"{folder}: an adapter lies beside the model: transformers would add it")
    return folder, {}


def _counted(path: str | os.PathLike[str]) -> None:
    """Refuse a model that promises more layers than tensors: transformers would make them all."""
    held = open_checkpoint(path)
    told: list[tuple[str, Any]] = [*held.config.items()]
    while told:
        name, value = told.pop()
        if isinstance(value, Mapping):
            told += value.items()
        elif _OF_LAYERS.fullmatch(name) and isinstance(value, int) and value > len(held.tensors):
            stored = counted(len(held.tensors), "tensor")
            raise BadFile(f"{path}: it promises {value:,} layers ({name}), and has {stored}")


def _refuse(config: Any, path: Any) -> None:
    told = getattr(config, "architectures", None) or []
    if not isinstance(told, list) or not all(isinstance(name, str) for name in told):
        raise BadFile(f"{path}: config.json: architectures is not a list of names")
    if getattr(config, "is_encoder_decoder", False):
        raise Mismatch(f"{path}: an encoder with a decoder is not run")
    if getattr(config, "quantization_config", None):
        raise Mismatch(f"{path}: its weights are quantised: give the model they were made from")


def _kinds(config: Any, heads: Sequence[Kind]) -> Iterator[Kind]:
    """Yield the kinds to try: a model that hides tokens is no causal one, whatever can be built."""
    from transformers.models.auto import modeling_auto as auto

    told = " ".join(getattr(config, "architectures", None) or ())
    causal = type(config) in auto.MODEL_FOR_CAUSAL_LM_MAPPING
    masked = type(config) in auto.MODEL_FOR_MASKED_LM_MAPPING
    if causal and masked:
        causal = "CausalLM" in told or "LMHead" in told or bool(getattr(config, "is_decoder", 0))
        masked = not causal
    possible = {"causal": causal, "masked": masked, "bare": True}
    yield from (kind for kind in heads if possible[kind])


def _loaded(
    transformers: Any, kind: Kind, path: Any, folder: Path, options: dict[str, Any], dtype: Any
) -> tuple[Any | None, Any]:
    """Return a model and its notes; or None and why it has no such head."""
    make = getattr(transformers, _CLASSES[kind]).from_pretrained
    model, told = _translated(
        path, lambda: make(folder, dtype=dtype, output_loading_info=True, **options)
    )
    missing = sorted(
        name for name in told["missing_keys"] if kind != "bare" or "pooler" not in name
    )
    if missing:
        named = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        return None, f"as {kind} it lacks {named}"
    unread = sorted(told["unexpected_keys"])
    if not unread or kind == "bare":
        return model, []
    named = ", ".join(unread[:3]) + (", …" if len(unread) > 3 else "")
    return model, [f"{len(unread)} tensors of the file are not run ({named})"]


def _translated(path: Any, work: Any) -> Any:
    try:
        return work()
    except MemoryError:
        raise
    # transformers raises whatever a file makes it raise
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise BadFile(f"{path}: transformers cannot open it: {one_line(first, 200)}") from error


def _tokenizer(
    transformers: Any, folder: Path, options: dict[str, Any]
) -> tuple[Any | None, list[str]]:
    if "gguf_file" not in options and not any((folder / name).is_file() for name in _TOKENIZERS):
        return None, []
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, **options), []
    # as above: one that cannot be opened is none, and input_ids need none
    except Exception as error:  # noqa: BLE001
        first = str(error).strip().split("\n")[0]
        return None, [f"its tokenizer cannot be opened ({one_line(first, 120)})"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Let transformers load without a word: what it would say is checked, and said by us."""
    from transformers.utils import logging as theirs

    logger = logging.getLogger("transformers")
    level, bar = logger.level, theirs.is_progress_bar_enabled()
    logger.setLevel(logging.CRITICAL)
    theirs.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        if bar:
            theirs.enable_progress_bar()
