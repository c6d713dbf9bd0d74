"""Several adapters in one merged file, each with a strength: as given, or by least squares."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import numpy as np

from ftdiff.analyses.verification.claims import Claim
from ftdiff.analyses.verification.products import Mixed, strengthened
from ftdiff.analyses.verification.replay import FLOATS, Replay, held
from ftdiff.analyses.verification.stored import RUN
from ftdiff.comparison.plan import pair
from ftdiff.deltas.recipes import Beside, Recipe, Replaced, Tuned, Unreadable
from ftdiff.errors import BadCall
from ftdiff.formats import Checkpoint
from ftdiff.tensors import Array, matrix_shape, numel

#: An adapter as it is asked for: what `open_tuned` takes, and its strength, or None to find it.
Asked: TypeAlias = tuple[Any, float | None]
#: Steps of the search for strengths: each replays the roundings of the one before.
_STEPS = 6
#: A strength is read as a number of so few decimals if it is within so many standard errors.
_DECIMALS, _ERRORS, _EXACT = (0, 1, 2, 3), 4.0, 1e-6


def spelled(text: str) -> Asked:
    """Take PATH:STRENGTH apart, where the whole is no path and the part before the colon is one.

    >>> spelled("no-such-folder:0.8")
    ('no-such-folder:0.8', None)
    """
    path, _, number = text.rpartition(":")
    if path and not os.path.exists(text) and os.path.exists(path):
        try:
            return path, float(number)
        except ValueError:
            return text, None
    return text, None


def asked(adapter: Any) -> tuple[Asked, ...]:
    """Take an adapter, or several with or without strengths, as pairs."""
    if isinstance(adapter, tuple) and _is_pair(adapter):
        return ((adapter[0], float(adapter[1])),)
    if not isinstance(adapter, list | tuple):
        return ((adapter, None),)
    pairs = tuple(
        (one[0], float(one[1])) if isinstance(one, tuple) and _is_pair(one) else (one, None)
        for one in adapter
    )
    if not pairs:
        raise BadCall("verify needs an adapter")
    return pairs


def asked_of(claim: Claim, told: Sequence[float | None]) -> float | None:
    """Return the strength that was given of the adapters that change a tensor; None without one."""
    recipe = claim.recipe
    owners = recipe.owners if isinstance(recipe, Mixed) else range(len(told))
    strengths = {told[i] for i in owners}
    return strengths.pop() if len(strengths) == 1 else None


def _is_pair(one: tuple[Any, ...]) -> bool:
    return len(one) == 2 and isinstance(one[1], int | float) and not isinstance(one[1], bool)


def mixed(base: Checkpoint, adapters: Sequence[Tuned], strengths: Sequence[float]) -> Tuned:
    """Return the fine-tune that adds each adapter's change, so many times over.

    A saved module goes with its adapter whatever the strength; two that save the same one, or a
    change onto a saved one, are unreadable.

    Raises
    ------
    BadCall
        An adapter repeats the base's layers, and is not the only one.
    """
    if len(adapters) == 1 and strengths[0] == 1:
        return adapters[0]
    by: dict[str, list[tuple[int, Recipe]]] = {}
    scalings: dict[str, str] = {}
    for i, tuned in enumerate(adapters):
        if tuned.layout and len(adapters) > 1:
            raise BadCall(f"{tuned.source}: repeats the base's layers: verify it by itself")
        renamed = pair(base, tuned).renamed
        for name, recipe in tuned.recipes.items():
            own = name if isinstance(recipe, Beside) else renamed.get(name, name)
            by.setdefault(own, []).append((i, recipe))
            if name in tuned.scalings:
                scalings[own] = tuned.scalings[name]
    return Tuned(
        recipes={name: _mix(terms, strengths) for name, terms in by.items()},
        source=" + ".join(tuned.source for tuned in adapters),
        kind=adapters[0].kind if len({tuned.kind for tuned in adapters}) == 1 else "several",
        config=adapters[0].config,
        scalings=scalings if len(adapters) == 1 else {},
        unmatched={key: why for tuned in adapters for key, why in tuned.unmatched.items()},
        layout=adapters[0].layout,
        files=tuple(file for tuned in adapters for file in tuned.files),
        notes=tuple(note for tuned in adapters for note in tuned.notes),
        lost={name: why for tuned in adapters for name, why in tuned.lost.items()},
    )


def _mix(found: Sequence[tuple[int, Recipe]], strengths: Sequence[float]) -> Recipe:
    recipes = [recipe for _, recipe in found]
    apart = [r for r in recipes if isinstance(r, Replaced | Beside | Unreadable)]
    if apart and len(recipes) == 1:
        return apart[0]
    if apart:
        return Unreadable(recipes[0].shape, "an adapter saved it, and another changes it too")
    terms = tuple(strengthened(recipe, strengths[i]) for i, recipe in found)
    owners = tuple(i for i, _ in found)
    return terms[0] if len(strengths) == 1 else cast(Recipe, Mixed(terms[0].shape, terms, owners))


@dataclass(frozen=True)
class Normal:
    """Sums of the normal equations: ⟨ΔWᵢ, ΔWⱼ⟩, ⟨off, ΔWᵢ⟩ and ‖off‖², off = merged − replay."""

    gram: Array
    off: Array
    off_sq: float
    numel: int

    def __add__(self, other: Normal) -> Normal:
        return Normal(
            self.gram + other.gram,
            self.off + other.off,
            self.off_sq + other.off_sq,
            self.numel + other.numel,
        )


@dataclass(frozen=True)
class Sums:
    """What one target gives of them, for strengths that were tried; picklable."""

    many: int
    strengths: tuple[float, ...]

    def __call__(self, claim: Claim) -> Normal:
        """Stream one tensor."""
        total = Normal(np.zeros((self.many, self.many)), np.zeros(self.many), 0.0, 0)
        base, recipe, merged = claim.base, claim.recipe, claim.merged
        if not isinstance(recipe, Mixed) or base is None or merged is None:
            return total
        if not base.shape == recipe.shape == merged.shape or merged.dtype not in FLOATS:
            return total
        way = Replay(merged.dtype, merged.dtype, order="together")
        readers = [term.entries(base) for term in recipe.terms]
        at = np.array([self.strengths[i] for i in recipe.owners])
        columns = max(1, matrix_shape(recipe.shape)[1])
        step, size = max(1, RUN // columns) * columns, numel(recipe.shape)
        for start in range(0, size, step):
            stop = min(start + step, size)
            X = np.stack([reader(start, stop) for reader in readers])
            with base.window(start, stop) as stored, merged.window(start, stop) as M:
                W = held(stored, base.dtype, merged.dtype)
                E = held(way.expected(W, (at @ X).astype(W.dtype)), merged.dtype)
                off = held(M, merged.dtype).astype(np.float64) - (E if at.any() else W)
            keep = np.isfinite(off) & np.isfinite(X).all(axis=0)
            X, off = X[:, keep], off[keep]
            gram, along = np.zeros_like(total.gram), np.zeros(self.many)
            gram[np.ix_(recipe.owners, recipe.owners)] = np.einsum("ik,jk->ij", X, X)
            along[list(recipe.owners)] = np.einsum("ik,k->i", X, off)
            total += Normal(gram, along, float(np.einsum("k,k->", off, off)), int(keep.sum()))
        return total


@dataclass(frozen=True)
class Strengths:
    """How much of each adapter is in the file.

    Attributes
    ----------
    values
        As they are replayed: those that were given, or the nearest plain numbers.
    errors
        Standard errors of those that were fitted; None of those that were given.
    """

    values: tuple[float, ...]
    errors: tuple[float | None, ...] = field(default=())

    def said(self, names: Sequence[str]) -> str:
        """Return them in words."""
        told = []
        for name, value, error in zip(names, self.values, self.errors, strict=True):
            told.append(f"{name} at {value:.3f}" + ("" if error is None else f" ± {error:.1g}"))
        return ", ".join(told)


def fitted(
    given: Sequence[float | None],
    run: Callable[[Callable[[Claim], Normal]], Iterable[Normal]],
) -> Strengths:
    """Find the strengths that were not given, by least squares over all targets.

    Rounding swallows part of a small change: each step replays the sum in the file's dtype with the
    strengths of the step before, and fits what is left.

    Parameters
    ----------
    given
        For each adapter its strength, or None.
    run
        Applies a function to every claim.

    Raises
    ------
    BadCall
        The adapters' changes cannot be told apart.
    """
    free = [i for i, strength in enumerate(given) if strength is None]
    at = [0.0 if strength is None else strength for strength in given]
    if not free:
        return Strengths(tuple(at), (None,) * len(at))
    error = np.zeros(len(free))
    for _ in range(_STEPS):
        parts = list(run(Sums(len(given), tuple(at))))
        total = sum(parts[1:], parts[0])
        gram = total.gram[np.ix_(free, free)]
        if not total.numel or np.linalg.matrix_rank(gram, hermitian=True) < len(free):
            raise BadCall("the adapters' changes cannot be told apart: give their strengths")
        step = np.linalg.solve(gram, total.off[free])
        rest = max(total.off_sq - float(step @ total.off[free]), 0.0) / total.numel
        error = np.sqrt(rest * np.diag(np.linalg.inv(gram)))
        for i, more in zip(free, step, strict=True):
            at[i] += float(more)
        if (np.abs(step) <= np.maximum(0.5 * error, _EXACT)).all():
            break
    errors: dict[int, float] = dict(zip(free, error.tolist(), strict=True))
    values = tuple(_plain(s, errors[i]) if i in errors else s for i, s in enumerate(at))
    return Strengths(values, tuple(errors.get(i) for i in range(len(at))))


def _plain(value: float, error: float) -> float:
    """Return the number of fewest decimals that the fit allows; 0 only where nothing else fits."""
    if abs(value) <= max(_ERRORS * error, _EXACT):
        return 0.0
    for decimals in _DECIMALS:
        near = round(value, decimals)
        if near and abs(near - value) <= max(_ERRORS * error, _EXACT):
            return near
    return value


def absent(strengths: Strengths, called: Sequence[str]) -> list[str]:
    """Return the adapters of which nothing was fitted."""
    rows = zip(called, strengths.values, strengths.errors, strict=True)
    return [name for name, value, error in rows if error is not None and not value]


def names(adapters: Sequence[Tuned]) -> tuple[str, ...]:
    """Return what to call each: the last part of its path where that tells them apart."""
    short = [os.path.basename(os.path.normpath(tuned.source)) for tuned in adapters]
    return tuple(short if len(set(short)) == len(short) else [t.source for t in adapters])


def about(strengths: Strengths, adapters: Sequence[Tuned]) -> list[Mapping[str, Any]]:
    """Return a mapping for each adapter, for `Verification.about`."""
    rows = zip(adapters, strengths.values, strengths.errors, strict=True)
    return [{"adapter": t.source, "strength": s, "error": e} for t, s, e in rows]
