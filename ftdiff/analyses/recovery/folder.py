"""A recovered adapter as PEFT's folder: configuration, factors, and a README."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ftdiff.analyses.recovery.matrix import Part
from ftdiff.comparison.storage import written
from ftdiff.errors import BadCall, BadFile
from ftdiff.tensors import Array

_ROOT = "base_model.model."
#: The files of a folder.
CONFIG, WEIGHTS, README = "adapter_config.json", "adapter_model.safetensors", "README.md"


def free(folder: Path) -> None:
    """Make sure that nothing is written over.

    Raises
    ------
    BadCall
        The folder has files, or is none.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadCall(f"{folder}: it is there already; an adapter is written to a new folder")


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Lend a folder beside this one, and move it there only when everything is in it.

    Raises
    ------
    BadFile
        It cannot be written.
    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        yield beside
        try:
            os.replace(beside, folder)
        except OSError as error:
            said = error.strerror or error
            raise BadFile(f"{folder}: cannot be written ({said})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write(
    folder: Path,
    parts: Sequence[Part],
    names: Iterable[str],
    base: str,
    copies: Mapping[str, Array] | None = None,
) -> None:
    """Write factors and configuration.

    Parameters
    ----------
    folder
        Where to.
    parts
        What the adapter holds.
    names
        Of all tensors of the base, so that target modules are called by their last word where no
        other has it.
    base
        What the configuration calls the base.
    copies
        Tensors of modules that are saved whole, by name.
    """
    copies = copies or {}
    told = {**configuration(parts, names, base), "modules_to_save": modules(copies) or None}
    with written(folder / CONFIG) as path:
        path.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    tensors: dict[str, Array] = {f"{_ROOT}{name}": copy for name, copy in copies.items()}
    for part in parts:
        tensors |= {f"{_ROOT}{_path(part)}.{key}": one for key, one in _factors(part).items()}
    with written(folder / WEIGHTS) as path:
        path.write_bytes(_safetensors(tensors))


def _factors(part: Part) -> dict[str, Array]:
    """Return what PEFT calls the factors of a linear layer, an embedding or a convolution."""
    B, A, shape = part.B, part.A, part.pair.base.shape
    if part.pair.is_embedding:
        return {"lora_embedding_A": B.T, "lora_embedding_B": A.T}
    if len(shape) > 2:
        A = A.reshape(len(A), *shape[1:])
        B = B.reshape(*B.shape, *[1] * (len(shape) - 2))
    found = {"lora_A.weight": A, "lora_B.weight": B}
    if part.magnitude is not None:
        found["lora_magnitude_vector"] = part.magnitude
    return found


def modules(names: Iterable[str]) -> list[str]:
    """Return the modules whose tensors these are.

    >>> modules(["model.norm.weight", "head.weight", "head.bias"])
    ['head', 'model.norm']
    """
    return sorted({name.rpartition(".")[0] for name in names})


def readme(folder: Path, sentences: Sequence[str]) -> None:
    """Write what the adapter is, and what is not in it."""
    said = "\n".join(f"* {sentence}" for sentence in sentences)
    with written(folder / README) as path:
        path.write_text(_README.format(said=said), "utf-8")


def configuration(parts: Sequence[Part], names: Iterable[str], base: str) -> dict[str, Any]:
    """Return adapter_config.json: alpha is the rank everywhere, so that ΔW is B·A."""
    ranks = {_path(part): len(part.A) for part in parts}
    rank = max(ranks.values(), key=[*ranks.values()].count)
    pattern = {path: r for path, r in ranks.items() if r != rank}
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "target_modules": _targets([*ranks], names),
        "use_dora": any(part.magnitude is not None for part in parts),
        "use_rslora": False,
        "fan_in_fan_out": any(part.pair.turned for part in parts),
        "bias": "none",
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "inference_mode": True,
    }


def _path(part: Part) -> str:
    return part.pair.name.removesuffix(".weight")


def _targets(paths: Sequence[str], names: Iterable[str]) -> list[str]:
    """Return the last words of paths where every module of that name is one, else the paths."""
    wanted = {*paths}
    others = {name.rpartition(".")[0] for name in names} - wanted
    shared = {path.rpartition(".")[2] for path in others}
    words = {path.rpartition(".")[2] for path in paths} - shared
    return sorted(words | {path for path in paths if path.rpartition(".")[2] not in words})


def _safetensors(tensors: Mapping[str, Array]) -> bytes:
    """Return float32 tensors in safetensors' layout: a length, a header, the bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at, chunks = 0, []
    for name, tensor in sorted(tensors.items()):
        chunks.append(np.ascontiguousarray(tensor, "<f4").tobytes())
        end = at + len(chunks[-1])
        header[name] = {"dtype": "F32", "shape": [*tensor.shape], "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(chunks)


_README = """# An adapter recovered from a merged model

{said}

It was not trained: it was computed by `ftdiff recover` from the base and the merged model.

## What is not in it

* **A, B and α apart.** Only their product s·B·A is in a merged model. The factors here are
  singular vectors times the roots of singular values, and α is r, so that the scale is 1: they are
  not those that were trained, and further training starts elsewhere.
* What rounding to the file's grid took: the error above.
* Dropout, the learning rate, the optimiser's state, the text.
"""
