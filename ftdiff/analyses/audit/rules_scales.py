"""Where loaders scale one adapter differently: what the file says, and who reads it how."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ftdiff.analyses.audit.registry import audit_rule, finding
from ftdiff.analyses.finding import Finding, listed
from ftdiff.comparison.reasons import reasons
from ftdiff.comparison.result import Diff


def _in_header(one: Mapping[str, Any]) -> str:
    return (
        f"α = {one['alpha']:g} stands in the file's header alone ({one['key']}): ComfyUI and "
        "sd-scripts do not read it, and scale by 1."
    )


def _unused(one: Mapping[str, Any]) -> str:
    return (
        f"The file's header says α = {one['alpha']:g} ({one['key']}), which is not used: "
        f"{one.get('why', 'what is nearer to the factors contradicts it')}."
    )


def _differ(one: Mapping[str, Any]) -> str:
    others = listed(one["others"])
    return f"The file's header has another α under {others} than under {one['used']}."


def _ranks(one: Mapping[str, Any]) -> str:
    ranks = ", ".join(map(str, one["ranks"]))
    return f"One α = {one['alpha']:g} is for factors of ranks {ranks}: they are scaled apart."


def _zero(one: Mapping[str, Any]) -> str:
    return (
        f"α is 0 in {one['modules']:,} modules: sd-scripts scales them by 1, ComfyUI and diffusers "
        "by 0."
    )


_DISPUTED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "alpha-in-header": _in_header,
    "alpha-unused": _unused,
    "alphas-differ": _differ,
    "ranks-differ": _ranks,
    "alpha-zero": _zero,
}


@audit_rule("scale-disputed", "caution")
def scale_disputed(diff: Diff) -> Iterator[Finding]:
    """An adapter that loaders scale differently is another model in each of them."""
    for code, sentence in _DISPUTED.items():
        for one in reasons(diff.about, code):
            data = {name: value for name, value in one.items() if name != "code"}
            yield finding("scale-disputed", sentence(one), reason=code, **data)


@audit_rule("conventions", "note")
def conventions(diff: Diff) -> Iterator[Finding]:
    """What one tool computes and another would not, of the same file."""
    for one in reasons(diff.about, "alpha-ignored"):
        message = (
            f"{one['modules']:,} whole LoKr modules have an α that LyCORIS and ComfyUI ignore and "
            "PEFT does not."
        )
        yield finding("conventions", message, modules=one["modules"])
    if any(reasons(diff.about, "difference-beside-factors")):
        message = (
            "A weight has factors and a whole difference, which are added up here; ComfyUI takes "
            "the difference alone."
        )
        yield finding("conventions", message)
