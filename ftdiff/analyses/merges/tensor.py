"""Judge one tensor: what it is of its parents, and how exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from ftdiff.analyses.merges import fit
from ftdiff.analyses.merges.feasible import Feasible, feasible
from ftdiff.analyses.merges.fit import Fit, Refined
from ftdiff.analyses.merges.guesses import Hint, guess_of
from ftdiff.analyses.merges.intervals import Interval
from ftdiff.analyses.merges.reading import read
from ftdiff.analyses.merges.replays import Guess, Replayed, Setting, best, equal
from ftdiff.analyses.merges.rounding import spacing
from ftdiff.analyses.merges.scaled import scaled
from ftdiff.analyses.merges.sides import Sides
from ftdiff.analyses.merges.slerp import Slerp, at, slerp
from ftdiff.analyses.merges.sparse import Sparse, sparse
from ftdiff.analyses.merges.sums import Sums
from ftdiff.analyses.merges.unjudged import same, unfit
from ftdiff.analyses.merges.ways import WAYS, written
from ftdiff.analyses.pairwise import Line, place
from ftdiff.deltas.recipes import Replaced
from ftdiff.errors import attempt
from ftdiff.tensors import Array, precision

Row: TypeAlias = dict[str, Any]

#: What is left of the merged change beside rounding, over its size: up to here it is a merge that
#: was changed since.
CHANGED = 0.12
#: Up to here something is missing, where one more fine-tune of the same base would leave less than
#: `_STRANGE`, and where it would leave more: of changes that agree by .9 it leaves a third, of such
#: that agree by .3 nine tenths.
_PARTLY, _PARTLY_STRANGE, _STRANGE = 0.3, 0.5, 0.9
#: Coefficients whose sum is as near to 1 may have been made to sum to it.
_WHOLE = 0.006
#: By how much a guess must be better than the last one for a tensor to be gone through again.
_BETTER = 1.01
#: What is left over what rounding leaves, where every entry is half a spacing off, and a little.
_HALF = 4.0
#: Up to here nothing but rounding need be left.
ROUNDED = 0.005


@dataclass(frozen=True, eq=False)
class Found:
    """A tensor's row: what is told of it."""

    row: Row


def judge(line: Line, with_base: bool, sample: int | None, known: Sequence[Hint] = ()) -> Found:
    """Judge a line whose first recipe is the merged file's, on a worker.

    What is `known` of other tensors is tried first, the likeliest at the beginning.
    """
    found = attempt(line.address.name, lambda: _judged(line, with_base, sample, known))
    return lost(line, found) if isinstance(found, str) else found


def lost(line: Line, why: str) -> Found:
    """Return the row of a tensor that could not be read."""
    return Found({**place(line), "status": "unreadable", "said": why})


def _judged(line: Line, with_base: bool, sample: int | None, known: Sequence[Hint]) -> Found:
    facts = place(line)
    tensors = [line.base]
    for recipe in line.recipes:
        tensors.append(recipe.tensor if isinstance(recipe, Replaced) else None)
    if any(tensor is None for tensor in tensors):
        return Found({**facts, "status": "unmatched", "said": "one of the files does not have it"})
    first, merged, *parents = (tensor for tensor in tensors if tensor is not None)
    why = unfit(merged, [first, *parents])
    if why and same(merged, [first, *parents]):
        return Found({**facts, "status": "still", "said": "the same in every file"})
    if why:
        return Found({**facts, "status": "unreadable", "said": why})
    sides = Sides(merged, [first, *parents], sample)
    guess = guess_of(sides, with_base, known)
    sums, done = read(sides, guess, trusted=guess.trusted)
    if guess.trusted and done.equal < sums.moved:
        sums, done = read(sides, guess)
    facts |= {"merged_dtype": merged.dtype, "entries": sums.entries, "moved": sums.moved}
    facts |= {"nonfinite": sums.nonfinite}
    if not sums.moved:
        return Found({**facts, "status": "still", "said": "the same in every file"})
    return Found({**facts, **_Judgement(sides, sums, done, merged.dtype, with_base, known).row()})


class _Judgement:
    """What is found of one tensor, step by step."""

    def __init__(
        self,
        sides: Sides,
        sums: Sums,
        done: Replayed,
        dtype: str,
        with_base: bool,
        known: Sequence[Hint],
    ) -> None:
        self.sides, self.sums, self.dtype, self.with_base = sides, sums, dtype, with_base
        self.done, self.hint = done, known[0] if known else Hint()

    @cached_property
    def again(self) -> Refined:
        """The fit that allows for something beside rounding."""
        sample = self.sums.sample
        rows = sample.D if self.free is None else np.vstack([sample.W, sample.D])
        return fit.refined(rows, sample.y, sample.ulp)

    @cached_property
    def turned(self) -> Slerp | None:
        """Where between two parents it lies on a sphere."""
        return slerp(self.sums, self.with_base)

    @cached_property
    def free(self) -> Fit | None:
        """The fit of weights that do not add up to 1, where there is no base and it asks for it."""
        if self.with_base or self.turned is not None:
            return None
        return scaled(self.sums.gram, self.sums.moved, self.sums.fit())

    def row(self) -> Row:
        own = self.free or self.sums.fit()
        coefficients, errors = own.coefficients, own.errors
        if self.free is None:
            coefficients, errors = self._of_parents(coefficients, errors)
        if not self.sums.gram.diagonal()[1:-1].any():
            return {"status": "apart", "said": "changed, and no parent changes it"}
        turned = self.turned
        done = self._replay(coefficients, errors, turned)
        facts = _numbers(coefficients, errors) | {"chi_sq": own.chi_sq} | self._replayed(done)
        if turned is not None:
            facts |= {"t": turned.t, "angle": turned.angle}
            facts |= {"coefficients": turned.weights, "errors": turned.errors}
        elif done.setting.alone:
            facts |= {"t": self.hint.t, "angle": self.sums.angle}
        if self._exact(done):
            way = "SLERP" if done.setting.alone else WAYS[done.way].said
            said = f"every entry: {way}" if done.equal == self.sums.moved else "every entry"
            facts["left"] = 0.0
            return facts | {"status": "exact", "said": f"{said} rounds right"}
        return facts | self._loose(own, turned)

    def _of_parents(self, c: Array, errors: Array) -> tuple[Array, Array]:
        """Add the first parent's share where there is no base."""
        if self.with_base:
            return c, errors
        beyond = 0.0
        if self.free is not None:
            beyond, c, errors = float(c[0]), c[1:], errors[1:]
        first = math.sqrt(float(np.square(errors).sum()))
        return np.r_[1 + beyond - c.sum(), c], np.r_[first, errors]

    def _replay(self, coefficients: Array, errors: Array, turned: Slerp | None) -> Replayed:
        """Return the replay that gives most: the first one, or a second where that is not whole."""
        done = self.done
        sphere = turned is not None and not done.setting.alone
        if done.equal == self.sums.moved and not sphere:
            return done
        settings = self._settings(coefficients, errors, turned)
        sample = self.sums.sample
        guess = best(sample, self.dtype, settings)
        before = equal(sample, self.dtype, Guess(done.setting, done.way)).equal
        if guess.equal < sample.moved.sum() and guess.equal <= before * _BETTER:
            return done  # it is not the whole either, nor worth another reading
        if (guess.setting, guess.way) == (done.setting, done.way):
            return done
        again = read(self.sides, guess)[1]
        better = (again.equal, again.right or 0) > (done.equal, done.right or 0)
        return again if better or (sphere and again.equal >= done.equal) else done

    def _settings(self, coefficients: Array, errors: Array, turned: Slerp | None) -> list[Setting]:
        found = [] if turned is None else [
            Setting(weights, self.with_base, alone=True) for weights in turned.tried()
        ]  # fmt: skip
        angle = self.sums.angle
        if self.hint.t is not None and angle > 0:
            found.append(Setting(at(self.hint.t, angle), self.with_base, alone=True))
        if self.hint.weights is not None:
            found.append(Setting(self.hint.weights, self.with_base))
        errors = np.nan_to_num(errors)
        *tried, own = written(coefficients.tolist(), errors.tolist())
        apart = abs(float(coefficients.sum()) - 1)
        if self.with_base and len(coefficients) > 1 and apart <= max(_WHOLE, 4 * errors.max()):
            tried.append(tuple(fit.to_one(self.sums.gram[1:, 1:], self.sums.moved).tolist()))
        again = self._of_parents(self.again.fit.coefficients, self.again.fit.errors)
        # where sums were rounded, entries of a fine spacing mislead
        tried += written(again[0].tolist(), np.nan_to_num(again[1]).tolist())
        weights = dict.fromkeys((*tried, own))
        return found + [Setting(one, self.with_base) for one in weights]

    def _replayed(self, done: Replayed) -> Row:
        moved = self.sums.moved
        return {
            "weights": done.setting.weights,
            "way": done.way,
            "replay": done.equal / moved,
            "right": None if done.right is None else done.right / moved,
            "low": tuple(_end(one.low) for one in done.intervals),
            "high": tuple(_end(one.high) for one in done.intervals),
        }

    def _exact(self, done: Replayed) -> bool:
        """Say whether all entries are a merge's: replayed, or round right for one coefficient."""
        whole = len(done.intervals) == 1 or abs(sum(done.setting.weights) - 1) < 1e-9
        open_ = whole and len(done.intervals) <= 2 and not done.intervals[-1].empty
        return self.sums.moved in (done.equal, done.right) or open_

    def _loose(self, own: Fit, turned: Slerp | None) -> Row:
        """Return what is said where not every entry is a merge's."""
        again, left = self.again, self.again.left
        row: Row = {"left": left}
        if left > ROUNDED and self.with_base:
            found = self._sparse()
            if found is not None:
                return row | found.row()
        if left <= ROUNDED or own.chi_sq <= _HALF:
            free = turned is not None or self.free is not None
            fitted = self.sums.free() if free else own
            proved = feasible(self.sides, self.dtype, fitted, free=free)
            if proved is not None:
                return {"left": 0.0, **self._proved(proved)}
        if turned is None:
            c, e = self._of_parents(again.fit.coefficients, again.fit.errors)
            row |= _numbers(c, e) | {"sibling": again.sibling}
        if left <= ROUNDED:
            said = "no more than rounding is left, in an order that is not replayed"
            return row | {"status": "rounded", "said": said}
        if left <= CHANGED:
            return row | {
                "status": "changed",
                "said": f"{left:.1%} of the change is something else",
            }
        if left <= (_PARTLY_STRANGE if again.sibling >= _STRANGE else _PARTLY):
            return row | {"status": "partly", "said": f"{left:.0%} of the change is something else"}
        return row | {"status": "none", "said": f"{left:.0%} of the change is something else"}

    def _proved(self, found: Feasible) -> Row:
        """Return what is said where every entry rounds right for coefficients as no one writes."""
        told: Row = {"status": "exact", "right": 1.0, "said": "every entry rounds right"}
        if self.turned is not None:
            return told | {"weights": self.turned.weights}
        weights, intervals = found.coefficients, found.intervals
        if not self.with_base:
            own, _ = self._of_parents(np.array(weights), np.zeros(len(weights)))
            lone = len(intervals) == 1 and self.free is None
            first = intervals[0].mirrored() if lone else Interval()
            intervals = (first, *intervals[0 if self.free is None else 1 :])
            weights = tuple(own.tolist())
        return told | {
            "weights": weights,
            "low": tuple(_end(one.low) for one in intervals),
            "high": tuple(_end(one.high) for one in intervals),
        }

    def _sparse(self) -> Sparse | None:
        one = self.sums.sample
        coarse = spacing(np.maximum(np.abs(one.W + one.y), np.abs(one.W)), self.dtype)
        facts = precision(self.dtype)
        assert facts is not None
        return sparse(one.D, one.y, np.maximum(coarse, one.ulp), facts[0])


def _numbers(coefficients: Array, errors: Array) -> Row:
    """Return coefficients and their errors; what is not determined is missing."""
    known = np.isfinite(errors).tolist()
    pairs = [*zip(coefficients.tolist(), errors.tolist(), known, strict=True)]
    return {
        "coefficients": tuple(c if is_known else None for c, _, is_known in pairs),
        "errors": tuple(e if is_known else None for _, e, is_known in pairs),
    }


def _end(value: float) -> float | None:
    return value if math.isfinite(value) else None
