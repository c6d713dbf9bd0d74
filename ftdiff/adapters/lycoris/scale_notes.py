"""What is odd about the alphas of a file's modules, and where loaders read them differently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ftdiff.adapters import header
from ftdiff.formats.note import Note
from ftdiff.tensors import LazyTensor, numel

#: Whose first axis is the rank.
_RANKS = ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")


def notes(
    modules: Mapping[str, Mapping[str, LazyTensor]], told: header.Told | None
) -> tuple[Note, ...]:
    """Return what a file's alphas give away.

    Parameters
    ----------
    modules
        Tensors by path and part.
    told
        What the header says of α, used or not.
    """
    alphas = {path: _alpha(parts["alpha"]) for path, parts in modules.items() if "alpha" in parts}
    return (*_zeros(alphas), *_whole(modules, alphas), *_against(alphas, told, ranks(modules)))


def ranks(modules: Mapping[str, Mapping[str, LazyTensor]]) -> tuple[int, ...]:
    """Return every rank that factors have."""
    found = {
        parts[name].shape[0]
        for parts in modules.values()
        for name in _RANKS
        if name in parts and parts[name].shape
    }
    return tuple(sorted(found))


def _zeros(alphas: Mapping[str, float | None]) -> Iterator[Note]:
    zero = [path for path, alpha in alphas.items() if alpha == 0.0]
    if zero:
        text = (
            f"α is 0 in {_counted('module', zero)}: sd-scripts reads that as the rank, "
            "scale 1, as here; ComfyUI and diffusers multiply by it, which is no change at all"
        )
        yield Note("alpha-zero", text, modules=len(zero))


def _whole(
    modules: Mapping[str, Mapping[str, LazyTensor]], alphas: Mapping[str, float | None]
) -> Iterator[Note]:
    whole = [path for path in alphas if {"lokr_w1", "lokr_w2"} <= modules[path].keys()]
    if whole:
        text = (
            f"both factors and an α are stored of {_counted('LoKr module', whole)}: LyCORIS and "
            "ComfyUI ignore an α there, scale 1, as here; PEFT's LoKr divides by r"
        )
        yield Note("alpha-ignored", text, modules=len(whole))


def _against(
    alphas: Mapping[str, float | None], told: header.Told | None, held: tuple[int, ...]
) -> Iterator[Note]:
    if told is None:
        return
    yield from header.rank_note(told, held)
    own = sorted({alpha for alpha in alphas.values() if alpha is not None})
    if own and told.alpha not in own:
        shown = ", ".join(f"{alpha:g}" for alpha in own[:5]) + (", …" if len(own) > 5 else "")
        yield header.unused(told, f"the modules' own alphas are ({shown})")


def _counted(noun: str, paths: list[str]) -> str:
    if len(paths) == 1:
        return f"1 {noun} ({paths[0]})"
    return f"{len(paths):,} {noun}s ({paths[0]}, …)"


def _alpha(tensor: LazyTensor) -> float | None:
    if numel(tensor.shape) != 1:
        return None
    return float(tensor.read().astype(np.float64).reshape(-1)[0])
