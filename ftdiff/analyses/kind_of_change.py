"""What kind of change a whole checkpoint shows, from its structure: a list, the first that holds.

A merged LoRA, or a DoRA; then a direction taken out of matrices, single matrices of low rank, rows
and columns; then steps as small as storage has them. The base that was really tuned on, and zeros,
are said beside any of them. Each sentence has its numbers and what chance would give; none speaks
of intent. Where nothing is said, size alone is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftdiff.analyses.damage import damage_of, is_another_base
from ftdiff.analyses.finding import counted, layer_spans, listed
from ftdiff.comparison.frame import among, length, rows_at
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED, PAIRED
from ftdiff.formats.quantised.rounding import Rounding

#: Rules that say what kind of change it is; where one speaks, its size likens it to nothing.
DECIDING = ("low-rank", "edited-direction", "edited-matrices", "edited-lines", "small-steps")
#: Rules that say what holds beside.
BESIDE = ("tuned-on-rounded", "new-zeros")
#: Matrices of one component in so many layers at most, of a model that has so many times more, are
#: edits of single places rather than an adapter.
_SINGLE, _TIMES = 8, 2
#: The share of edits that go along one direction before it is called one.
_ONE = 0.8
#: The largest share of entries that move where steps are small, and the least share of the matrices
#: that move with them: all of a blurred dense change of 1e-3 in bfloat16 is .22.
_SPARSE, _ALL = 0.5, 0.8
#: The least part of steps that are one or two spacings. Of dense changes that are not blurred by
#: rounding it is .07 at most.
_STEPS = 0.15
#: Zeros that are worth a word; runs of four with two zeros, of which chance gives .375 at a half.
_ZEROS, _PATTERN = 0.01, 0.95
_GONE = 0.97
#: From this share of the squared change on, rounding is all that is seen of it.
_ALL_OF_IT = 0.995


@dataclass(frozen=True)
class Said:
    """One sentence, the rule that it is of, and plain values behind it."""

    rule: str
    message: str
    evidence: Mapping[str, Any]


def kind_of_change(diff: Diff) -> tuple[Said, ...]:
    """Say what kind of change it is, and what holds beside; nothing of another model's."""
    found = diff.about.get("structure")
    if not found or is_another_base(diff):
        return ()
    deciding = [
        next(said, None)
        for said in (_lines(found, of_all=True), _edits(found), _single(diff, found),
                     _low_rank(found), _lines(found), _steps(diff, found))
    ]  # fmt: skip
    first = [one for one in deciding if one is not None][:1]
    return (*first, *_rounded_base(found), *_zeros(diff, found))


def decided(diff: Diff) -> bool:
    """Say whether a change shows a structure, so that its size alone is no likeness."""
    return any(one.rule in (*DECIDING, "tuned-on-rounded") for one in kind_of_change(diff))


def _low_rank(found: Mapping[str, Any]) -> Iterator[Said]:
    ranks = found.get("low_rank")
    if not ranks:
        return
    rank, of = ranks["rank"], _of(ranks["of"], found)
    if ranks["scaled"]:
        message = (
            f"This looks like a merged DoRA of rank {rank}: with a scale of each output row, no "
            f"more than that rank is left beyond rounding in {ranks['low']:,} of {of}."
        )
        yield Said("low-rank", message, {**ranks, "kind": "dora"})
        return
    others = {name: r for name, r in ranks["by_component"].items() if r != rank}
    beside = f" ({', '.join(f'{name} {r}' for name, r in others.items())})" if others else ""
    base = found.get("base")
    what = f"the change from the base, rounded to {_rounding(base)}," if base else "ΔW"
    message = (
        f"This looks like a merged LoRA of rank {rank}{beside}: beyond rounding, {what} has no "
        f"more than that rank in {ranks['low']:,} of {of}."
    )
    yield Said("low-rank", message, {**ranks, "kind": "lora"})


def _edits(found: Mapping[str, Any]) -> Iterator[Said]:
    edits = found.get("edits")
    if not edits:
        return
    count, one = edits["matrices"], edits["along"] >= _ONE * edits["matrices"]
    low, middle, high = edits["strength"]
    strength = f"λ = {middle:.2f}" + (f" ({low:.2f} to {high:.2f})" if high - low > 0.02 else "")
    which = "one direction" if one and count > 1 else "a direction"
    which = which if one else "directions of their own"
    names = listed([*edits["components"]], 4)
    verb = "writes" if 2 * edits["writes"] >= count else "reads"
    was = "was" if count == 1 else "were"
    message = (
        f"{counted(count, 'matrix', 'matrices')} ({names}) {was} edited along {which}, {strength}: "
        f"what the base {verb} along it is taken out (|cos| {edits['fit']:.3f})"
    )
    if count > 1:
        message += (
            f"; the directions have |cos| {edits['cosine']:.3f} with their common one, and by "
            f"chance {edits['chance']:.2g}"
        )
    if (rest := edits["of"] - count) > 0:
        others = counted(rest, "other matrix", "other matrices")
        message += f"; {others} moved otherwise"
    if edits["share"] < _GONE:
        message += f"; {1 - edits['share']:.0%} of the squared change beside is something else"
    yield Said("edited-direction", f"{message}.", edits)


def _single(diff: Diff, found: Mapping[str, Any]) -> Iterator[Said]:
    """Say that a few matrices alone were changed, each by a low rank."""
    ranks = found.get("low_rank")
    if not ranks or ranks["scaled"] or found["matrices"] > _SINGLE:
        return
    columns = diff.columns
    moved = rows_at(columns, among(columns["status"], MOVED))
    layers = sorted({int(layer) for layer in moved["layer"].tolist() if layer is not None})
    component = {*moved["component"].tolist()}
    if length(moved) != found["matrices"] or len(component) != 1 or not layers:
        return
    paired = rows_at(columns, among(columns["status"], PAIRED))
    alike = paired["component"] == next(iter(component))
    near = len(layers) == 1 or layers[-1] - layers[0] < 2 * len(layers)
    few = length(moved) * _TIMES <= int(alike.sum()) or len(layers) == 1
    if not near or not few:
        return
    name, rank = next(iter(component)), ranks["rank"]
    one = len(layers) == 1
    message = (
        f"Only {name} of layer{'' if one else 's'} {layer_spans(layers)} was "
        f"changed, by rank {rank}; all else is the base's."
    )
    evidence = {"component": name, "layers": layers, "rank": rank}
    yield Said("edited-matrices", message, evidence)


def _lines(found: Mapping[str, Any], of_all: bool = False) -> Iterator[Said]:
    lines = found.get("lines")
    if not lines or (of_all and len(lines) < found["matrices"]):
        return
    parts = [_line(one) for one in lines[:3]]
    more = f", and of {counted(len(lines) - 3, 'other matrix', 'other matrices')}" * (
        len(lines) > 3
    )
    all_of_it = len(lines) == found["matrices"]
    rest = "every other entry of the matrices" if all_of_it else "every other entry of these"
    message = f"Only single lines were changed: {'; '.join(parts)}{more}; {rest} is the base's."
    yield Said("edited-lines", message, {"lines": lines, "all": all_of_it})


def _line(one: Mapping[str, Any]) -> str:
    named, count = one["places"], one["count"]
    rest = f" and {count - len(named):,} more" if count > len(named) else ""
    word = one["axis"] if count > 1 else one["axis"].removesuffix("s")
    where = one["component"] + ("" if one["layer"] is None else f" of layer {one['layer']}")
    return f"{word} {', '.join(f'{n:,}' for n in named)}{rest} of {one['of']:,} in {where}"


def _steps(diff: Diff, found: Mapping[str, Any]) -> Iterator[Said]:
    steps = found.get("steps")
    if not steps or steps["changed"] > _SPARSE or steps["two"] < _STEPS:
        return
    columns = diff.columns
    paired = rows_at(columns, among(columns["status"], PAIRED) & (columns["param"] == "weight"))
    matrices = sum(shape is not None and len(shape) > 1 for shape in paired["shape"])
    if found["matrices"] < _ALL * matrices:
        return
    message = (
        f"{steps['changed']:.0%} of the entries moved, in {found['matrices']:,} of "
        f"{counted(matrices, 'matrix', 'matrices')} ({steps['least']:.0%} to {steps['most']:.0%} "
        f"of each), {steps['two']:.0%} of them by one or two steps of the file's dtype: so sparse "
        "a change is left by reinforcement learning, and by any training of steps as small."
    )
    yield Said("small-steps", message, {**steps, "matrices": found["matrices"], "of": matrices})


def _rounded_base(found: Mapping[str, Any]) -> Iterator[Said]:
    base = found.get("base")
    if not base:
        return
    only = base["explained"] >= _ALL_OF_IT and not found.get("low_rank")
    message = (
        f"It {'is' if only else 'was tuned on'} the base rounded to {_rounding(base)}: the slope "
        f"of ΔW on that rounding is {base['slope']:.3f} ± {max(base['error'], 0.001):.3f} in "
        f"{counted(base['matrices'], 'matrix', 'matrices')} (1 there, 0 where the base itself was "
        f"tuned), and it is {base['explained']:.0%} of the squared change"
        f"{': no training is seen beside it' if only else ''}."
    )
    yield Said("tuned-on-rounded", message, base)


def _rounding(base: Mapping[str, Any]) -> str:
    return Rounding(base["scheme"], base["scale"]).said


def _zeros(diff: Diff, found: Mapping[str, Any]) -> Iterator[Said]:
    """Say what share is new zeros, and in which pattern; damage tells of what is zeroed alone."""
    zeros = found.get("zeros")
    if not zeros or zeros["share"] < _ZEROS or 2 * zeros["matrices"] < found["looked"]:
        return
    pattern = zeros["two_of_four"] >= _PATTERN
    if pattern:
        message = (
            f"Zeros stand two in every four entries of a row, in {zeros['two_of_four']:.1%} of "
            "such runs (by chance 37.5%): sparsity 2:4."
        )
    elif not damage_of(diff).kinds["pruned"].any():
        message = (
            f"{zeros['share']:.1%} of the entries are new zeros, in {zeros['matrices']:,} of "
            f"{found['looked']:,} matrices looked at, and the others moved too: pruned, then tuned."
        )
    else:
        return
    yield Said("new-zeros", message, {**zeros, "looked": found["looked"], "pattern": pattern})


def _of(count: int, found: Mapping[str, Any]) -> str:
    if count >= found["matrices"]:
        return f"{found['matrices']:,} matrices that moved"
    return f"{count:,} matrices looked at, of {found['matrices']:,} that moved"


def sentences(diff: Diff) -> Sequence[str]:
    """Return what is said, in words."""
    return [one.message for one in kind_of_change(diff)]
