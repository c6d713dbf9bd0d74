"""What a recovery found, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ftdiff.analyses.finding import counted, listed
from ftdiff.analyses.recovery.agreement import Agreement
from ftdiff.analyses.recovery.matrix import APART, FULL, ROUNDED, SAME, Part, Seen

#: What a person reads for a verdict.
HEADLINES = {
    "lora": "a merged LoRA",
    "dora": "a merged DoRA",
    "blurred": "blurred by rounding",
    "not_low_rank": "no change of low rank",
    "unmoved": "nothing moved",
}
_FORMS = {"lora": "LoRA", "dora": "DoRA"}


def sentences(
    found: Agreement, seen: Sequence[Seen], parts: Sequence[Part], about: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the verdict, its numbers, and what is not of it."""
    if found.verdict == "unmoved":
        return ("no matrix moved that an adapter of low rank changes", *_others(found, seen, about))
    if found.verdict == "blurred":
        return (_blurred(found, seen),)
    if found.scaled:
        return ("no adapter of low rank: rows of the base were scaled, and nothing was added",)
    if found.verdict == "not_low_rank":
        told = f"the spectra of {found.low} of {found.count} moved matrices end at a low rank"
        return (f"no adapter of low rank: {told}, rows scaled or not",)
    form = _FORMS[found.verdict]
    first = f"looks like a merged {form} of rank {found.rank} ({_held(found)})"
    replay, error = (median(getattr(p, name) for p in parts) for name in ("replay", "error"))
    return (
        first,
        *_ranks(found),
        *_roundings(found),
        f"of the median matrix {replay:.2%} of the entries round to what is stored, and ΔW is off "
        f"by {error:.2g} of its norm, judged by known factors as large",
        *_others(found, seen, about),
        *_verified(about),
    )


def of_folder(said: Sequence[str], about: Mapping[str, Any]) -> list[str]:
    """Return the sentences for the README, and what it was made from."""
    return [*said, f"base: {about['base']}", f"merged model: {about['merged']}"]


def _held(found: Agreement) -> str:
    return f"{found.low} of {counted(found.count, 'moved matrix', 'moved matrices')}"


def _ranks(found: Agreement) -> list[str]:
    counts = Counter(found.ranks.values())
    if len(counts) == 1:
        return []
    told = ", ".join(f"{rank} in {many}" for rank, many in sorted(counts.items()))
    return [f"ranks differ: {told}"]


def _roundings(found: Agreement) -> list[str]:
    if found.roundings == 1:
        return []
    return [
        "what is left is two roundings: the merge began from weights that this base has rounded"
    ]


def _blurred(found: Agreement, seen: Sequence[Seen]) -> str:
    tails = [one.tail for one in seen if one.tail is not None and one.tail.floor > 0]
    times = median(tail.squares[0] / tail.floor for tail in tails) ** 0.5
    least = f"rank at least {found.rank}" if found.rank else "no rank can be told"
    return (
        f"{least}: the stored change is {times:.2g} times the rounding of the "
        "file in the median matrix, so that whether it is low cannot be told"
    )


def _others(found: Agreement, seen: Sequence[Seen], about: Mapping[str, Any]) -> list[str]:
    """Name what moved and is not in the adapter."""
    held = {*found.ranks, *about.get("whole", ())}
    left = [one for one in seen if one.pair.name not in held and one.kind != SAME]
    said = []
    if about.get("whole"):
        names = [*about["whole"]]
        said.append(f"saved whole beside the factors, as modules_to_save: "
                    f"{counted(len(names), 'tensor')} ({listed(names)})")  # fmt: skip
    for kind, words in (
        (FULL, "moved by a change that is not of low rank"),
        (APART, "moved and cannot be in such an adapter"),
        (ROUNDED, "moved by less than rounding moves"),
    ):
        names = [one.pair.name for one in left if one.kind == kind]
        if names:
            said.append(f"not in the adapter: {counted(len(names), 'tensor')} {words} "
                        f"({listed(names)})")  # fmt: skip
    if about["beside"]:
        names = [*about["beside"]]
        said.append(f"{counted(len(names), 'tensor')} of one side alone ({listed(names)})")
    if about["reshaped"]:
        names = [*about["reshaped"]]
        said.append(f"{counted(len(names), 'tensor')} of other shapes ({listed(names)})")
    for name, why in about["unreadable"].items():
        said.append(f"{name}: {why}")
    return said


def _verified(about: Mapping[str, Any]) -> list[str]:
    if "verified" not in about:
        return []
    word = "accepts it" if about["accepted"] else "does not accept it"
    first, *rest = about["verification"]
    return [f"verify {word}: {first}", *([] if about["accepted"] else rest)]
